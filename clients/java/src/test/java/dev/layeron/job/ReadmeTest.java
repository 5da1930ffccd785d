package dev.layeron.job;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What the README shows is so: its programs are run, and print what it says. */
class ReadmeTest {
    private static final Path README = Path.of("README.md");
    private static final String IMPORTS = """
            import com.fasterxml.jackson.databind.ObjectMapper;
            import dev.layeron.job.*;
            import java.time.Duration;
            import java.util.*;
            import java.util.concurrent.*;
            import java.util.stream.*;
            """;

    @TempDir
    private Path folder;

    @Test
    void theDependencyIsThisVersion() throws IOException {
        String version = blocks("xml").get(0).replaceAll("(?s).*<version>(.*)</version>.*", "$1");
        assertTrue(Files.readString(Path.of("pom.xml")).contains("<version>" + version + "</version>"), version);
    }

    @Test
    void theFirstProgramPrintsWhatTheReadmeSays() throws Exception {
        String namespace = "readme-" + UUID.randomUUID();
        // A namespace of the test's own, so that a key of an earlier test is not taken.
        String program = blocks("java")
                .get(0)
                .replace("builder().build()", "builder().namespace(\"" + namespace + "\").build()");
        Process worker = worker(namespace);
        try {
            assertEquals(blocks("text").get(0), run("Welcome.java", program));
        } finally {
            stop(worker);
        }
    }

    @Test
    void everyOtherPieceOfCodeRuns() throws Exception {
        String namespace = "readme-" + UUID.randomUUID();
        List<String> pieces = blocks("java");
        String methods = IntStream.range(1, pieces.size())
                .mapToObj(n -> "static void piece%d(JobClient client, String runId) throws Exception {\n%s}\n"
                        .formatted(n, pieces.get(n)))
                .collect(Collectors.joining());
        String calls = IntStream.range(1, pieces.size())
                .mapToObj(n ->
                        "piece%d(client, client.enqueue(\"welcome-mail\", Map.of(\"to\", \"x\")).join().runId());\n"
                                .formatted(n))
                .collect(Collectors.joining());
        String program = IMPORTS
                + "public class Pieces {\n"
                + methods
                + "public static void main(String[] arguments) throws Exception {\n"
                + "try (JobClient client = JobClient.builder().namespace(\"" + namespace + "\").build()) {\n"
                + calls
                + "}}}\n";
        Process worker = worker(namespace);
        try {
            String printed = run("Pieces.java", program);
            assertTrue(printed.contains("2000 runs made\n"), printed);
            assertTrue(printed.contains("is SUCCEEDED\n"), printed);
            assertTrue(printed.endsWith("true false\n"), printed);
        } finally {
            stop(worker);
        }
    }

    /** The README's worker, once it has registered its task. */
    private Process worker(String namespace) throws Exception {
        Path python = LiveServer.checkout().resolve(".venv/bin/python");
        assumeTrue(Files.exists(python), "the worker of the README needs the checkout's .venv");
        String program = blocks("python").get(0).replace("Worker()", "Worker(namespace=\"" + namespace + "\")");
        Path file = Files.writeString(folder.resolve("worker.py"), program);
        Process process = start(List.of(python.toString(), file.toString()), Path.of("worker.log"));
        try (JobClient client = JobClient.builder()
                .address(LiveServer.address())
                .namespace(namespace)
                .build()) {
            long until = System.nanoTime() + Duration.ofSeconds(30).toNanos();
            while (client.tasks().list().findAny().isEmpty()) {
                assertTrue(process.isAlive() && System.nanoTime() < until, () -> log("worker.log"));
                Thread.sleep(50);
            }
        }
        return process;
    }

    /** What a program of one file prints. */
    private String run(String name, String program) throws Exception {
        Path file = Files.writeString(folder.resolve(name), program);
        String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
        Process process =
                start(List.of(java, "-cp", System.getProperty("java.class.path"), file.toString()), Path.of("printed"));
        assertTrue(process.waitFor(60, TimeUnit.SECONDS), () -> log("printed"));
        assertEquals(0, process.exitValue(), () -> log("printed"));
        return log("printed");
    }

    private Process start(List<String> command, Path log) throws IOException {
        ProcessBuilder builder = new ProcessBuilder(command)
                .redirectErrorStream(true)
                .redirectOutput(folder.resolve(log).toFile());
        builder.environment().put("LAYERON_JOB_ADDRESS", LiveServer.address());
        return builder.start();
    }

    private static void stop(Process process) throws InterruptedException {
        process.destroy();
        if (!process.waitFor(20, TimeUnit.SECONDS)) {
            process.destroyForcibly().waitFor();
        }
    }

    private String log(String name) {
        try {
            return Files.readString(folder.resolve(name), StandardCharsets.UTF_8);
        } catch (IOException problem) {
            return problem.toString();
        }
    }

    private static List<String> blocks(String language) throws IOException {
        return Pattern.compile("(?ms)^```" + language + "\n(.*?)^```$")
                .matcher(Files.readString(README))
                .results()
                .map((MatchResult found) -> found.group(1))
                .toList();
    }
}
