package dev.layeron.job;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Comparator;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * A real server: the one at $LAYERON_JOB_ADDRESS, or one of our own from the checkout's .venv, started once for all
 * tests and stopped with their JVM.
 */
final class LiveServer {
    private static final Path CHECKOUT = Path.of("..", "..").toAbsolutePath().normalize();
    private static final Pattern READY = Pattern.compile("is ready at (\\S+)");
    private static final String ADDRESS = start();

    private LiveServer() {}

    static String address() {
        return ADDRESS;
    }

    static Path checkout() {
        return CHECKOUT;
    }

    /** A client of a namespace of its own, with the task "work" registered. */
    static JobClient client() {
        return client(JobClient.builder().address(ADDRESS));
    }

    /** A client of a namespace of its own, with the task "work" registered, which is otherwise as the builder says. */
    static JobClient client(JobClient.Builder builder) {
        String namespace = "java-" + UUID.randomUUID();
        JobClient client = builder.namespace(namespace).build();
        var unused = client.tasks()
                .register(java.util.List.of(TaskDefinition.of("work")))
                .join();
        return client;
    }

    private static String start() {
        String given = System.getenv("LAYERON_JOB_ADDRESS");
        if (given != null && !given.isEmpty()) {
            return given;
        }
        try {
            return started();
        } catch (IOException problem) {
            throw new UncheckedIOException("set LAYERON_JOB_ADDRESS, or run `make setup` in the checkout", problem);
        }
    }

    private static String started() throws IOException {
        Path data = Files.createTempDirectory("layeron-job-java-");
        // As root the database runs as a user of its own, who must be able to enter.
        Files.setPosixFilePermissions(data, PosixFilePermissions.fromString("rwx--x--x"));
        Process process = new ProcessBuilder(
                        CHECKOUT.resolve(".venv/bin/layeron-job").toString(),
                        "dev",
                        "--data",
                        data.resolve("data").toString(),
                        "--port",
                        "0")
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(process, data)));
        BufferedReader lines = process.inputReader(StandardCharsets.UTF_8);
        StringBuilder said = new StringBuilder();
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            Matcher ready = READY.matcher(line);
            if (ready.find()) {
                return ready.group(1);
            }
            said.append(line).append('\n');
        }
        throw new IOException("the server did not start: " + said);
    }

    private static void stop(Process process, Path data) {
        process.destroy();
        try (Stream<Path> files = Files.walk(data)) {
            if (!process.waitFor(30, TimeUnit.SECONDS)) {
                process.destroyForcibly().waitFor();
            }
            files.sorted(Comparator.reverseOrder())
                    .forEach(file -> file.toFile().delete());
        } catch (IOException | InterruptedException problem) {
            throw new IllegalStateException(problem);
        }
    }
}
