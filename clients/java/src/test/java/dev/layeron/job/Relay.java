package dev.layeron.job;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import javax.net.ServerSocketFactory;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLServerSocket;

/** Passes bytes between callers and the real server, so that a test can cut the connection or put TLS in front. */
final class Relay implements AutoCloseable {
    private final ServerSocket door;
    private final Set<Socket> sockets = ConcurrentHashMap.newKeySet();

    /** In the clear, or with TLS if the factory says so. */
    Relay(ServerSocketFactory factory) throws IOException {
        door = factory.createServerSocket(0, 50, InetAddress.getLoopbackAddress());
        if (door instanceof SSLServerSocket tls) {
            SSLParameters parameters = tls.getSSLParameters();
            parameters.setApplicationProtocols(new String[] {"h2"});
            tls.setSSLParameters(parameters);
        }
        thread(() -> {
            while (true) {
                join(door.accept());
            }
        });
    }

    int port() {
        return door.getLocalPort();
    }

    /** Drops every connection. New ones are taken. */
    void cut() throws IOException {
        Set<Socket> open = Set.copyOf(sockets);
        sockets.removeAll(open);
        for (Socket socket : open) {
            socket.close();
        }
    }

    private void join(Socket caller) throws IOException {
        URI target = URI.create("tcp://" + LiveServer.address());
        Socket server = new Socket(target.getHost(), target.getPort());
        sockets.add(caller);
        sockets.add(server);
        thread(() -> pass(caller, server));
        thread(() -> pass(server, caller));
    }

    private static void pass(Socket from, Socket to) throws IOException {
        try (from;
                to) {
            InputStream in = from.getInputStream();
            OutputStream out = to.getOutputStream();
            byte[] buffer = new byte[64 * 1024];
            for (int count = in.read(buffer); count >= 0; count = in.read(buffer)) {
                out.write(buffer, 0, count);
                out.flush();
            }
        }
    }

    /** What may end with the connection it is about. */
    @FunctionalInterface
    private interface Work {
        void run() throws IOException;
    }

    private static void thread(Work work) {
        Thread thread = new Thread(() -> {
            try {
                work.run();
            } catch (IOException ended) {
                // the connection or the relay was closed
            }
        });
        thread.setDaemon(true);
        thread.start();
    }

    @Override
    public void close() throws IOException {
        door.close();
        cut();
    }
}
