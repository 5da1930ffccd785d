package dev.layeron.job.conformance;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.layeron.job.JobClient;
import dev.layeron.job.JobException;
import dev.layeron.job.WaitTimeoutException;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CompletionException;
import java.util.regex.Pattern;

/** Does what cases of the conformance suite say, by the public API of the Java client. */
public final class Driver {
    private static final ObjectMapper MAPPER = new ObjectMapper();
    private static final Pattern HUMP = Pattern.compile("(?<=[a-z])[A-Z]");

    private Driver() {}

    /**
     * Reads requests until stdin ends and answers each.
     *
     * @param arguments "call"
     * @throws IOException if stdin cannot be read
     */
    public static void main(String[] arguments) throws IOException {
        if (arguments.length != 1 || !arguments[0].equals("call")) {
            System.err.println("usage: java -jar driver.jar call");
            System.exit(2);
        }
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        Map<String, JobClient> clients = new HashMap<>();
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonNode request = MAPPER.readTree(line);
            JobClient client = clients.computeIfAbsent(
                    request.path("namespace").asText("default"),
                    namespace -> JobClient.builder().namespace(namespace).build());
            out.println(MAPPER.writeValueAsString(answer(client, request)));
        }
        clients.values().forEach(JobClient::close);
    }

    private static ObjectNode answer(JobClient client, JsonNode request) {
        ObjectNode answer = MAPPER.createObjectNode();
        answer.set("id", request.path("id"));
        try {
            answer.set("ok", new Operations(client).perform(request));
        } catch (RuntimeException error) {
            answer.set("error", told(error instanceof CompletionException ? error.getCause() : error));
        }
        return answer;
    }

    private static ObjectNode told(Throwable error) {
        ObjectNode told = MAPPER.createObjectNode();
        if (error instanceof JobException refused) {
            told.put("type", type(refused)).put("code", refused.code().name()).put("reason", refused.reason());
            told.put("message", refused.getMessage());
            told.set("violations", Plain.of(refused.violations()));
            told.set("metadata", Plain.of(refused.metadata()));
            told.put(
                    "retry_after_ms",
                    refused.retryAfter() == null ? null : refused.retryAfter().toMillis());
        } else if (error instanceof WaitTimeoutException late) {
            told.put("type", "WaitTimeout").put("message", late.getMessage());
        } else if (error instanceof IllegalArgumentException refused) {
            told.put("type", "Refused").put("message", inSnakeCase(refused.getMessage()));
        } else {
            throw new IllegalStateException("no answer for a case", error);
        }
        return told;
    }

    /** The name that the Python client has for it. */
    private static String type(JobException error) {
        return switch (error.getClass().getSimpleName()) {
            case "JobException" -> "JobError";
            case "Internal" -> "InternalError";
            default -> error.getClass().getSimpleName();
        };
    }

    /** Java's names of fields as the cases have them. */
    private static String inSnakeCase(String message) {
        return HUMP.matcher(message).replaceAll(hump -> "_" + hump.group().toLowerCase(Locale.ROOT));
    }
}
