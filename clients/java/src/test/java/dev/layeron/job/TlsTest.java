package dev.layeron.job;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;

import io.grpc.TlsChannelCredentials;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.time.Duration;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Encrypted connections, by a door with TLS in front of the real server. */
class TlsTest {
    private static final char[] PASSWORD = "changeit".toCharArray();

    @TempDir
    private Path folder;

    @Test
    void aServerWithACertificateThatIsTrustedIsCalledAndAnotherOneIsNot() throws Exception {
        KeyStore store = keyStore();
        KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");
        keys.init(store, PASSWORD);
        SSLContext tls = SSLContext.getInstance("TLS");
        tls.init(keys.getKeyManagers(), null, null);
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(store);
        try (Relay door = new Relay(tls.getServerSocketFactory());
                JobClient trusting = LiveServer.client(JobClient.builder()
                        .address("localhost:" + door.port())
                        .credentials(TlsChannelCredentials.newBuilder()
                                .trustManager(trust.getTrustManagers())
                                .build()));
                JobClient wary = JobClient.builder()
                        .address("localhost:" + door.port())
                        .namespace(trusting.namespace())
                        .tls()
                        .timeout(Duration.ofSeconds(1))
                        .build()) {
            assertEquals(RunStatus.QUEUED, trusting.enqueue("work", null).join().status());
            assertInstanceOf(JobException.class, Expect.anyFailure(wary.enqueue("work", null)));
            assertEquals(1, trusting.runs().list(RunFilter.all()).count());
        }
    }

    /** A key with a certificate for localhost that it signed itself, which the store trusts too. */
    private KeyStore keyStore() throws Exception {
        Path file = folder.resolve("keys.p12");
        keytool("-genkeypair -alias server -keyalg EC -dname CN=localhost -ext san=dns:localhost", file);
        keytool("-exportcert -alias server -rfc -file " + folder.resolve("server.pem"), file);
        keytool("-importcert -noprompt -alias trusted -file " + folder.resolve("server.pem"), file);
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (InputStream in = Files.newInputStream(file)) {
            store.load(in, PASSWORD);
        }
        return store;
    }

    private static void keytool(String command, Path file) throws IOException, InterruptedException {
        String words = Path.of(System.getProperty("java.home"), "bin", "keytool") + " " + command
                + " -storetype PKCS12 -storepass changeit -keystore " + file;
        Process process =
                new ProcessBuilder(words.split(" ")).redirectErrorStream(true).start();
        String said = new String(process.getInputStream().readAllBytes(), java.nio.charset.StandardCharsets.UTF_8);
        assertEquals(0, process.waitFor(), said);
    }
}
