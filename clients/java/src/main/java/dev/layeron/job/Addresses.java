package dev.layeron.job;

import java.util.Arrays;
import java.util.List;

/** Where the servers are. */
final class Addresses {
    private static final String VARIABLE = "LAYERON_JOB_ADDRESS";
    private static final String DEFAULT = "localhost:7233";

    private Addresses() {}

    /** What a caller names: host:port, one or several, also joined with commas. */
    static List<String> named(String... addresses) {
        List<String> named = split(addresses);
        if (named.isEmpty()) {
            throw Limits.refused("address", "must name at least one server, such as '" + DEFAULT + "'");
        }
        return named;
    }

    /** What the environment names, else the default. */
    static List<String> unnamed() {
        List<String> named = split(System.getenv().getOrDefault(VARIABLE, ""));
        return named.isEmpty() ? List.of(DEFAULT) : named;
    }

    private static List<String> split(String... addresses) {
        return Arrays.stream(addresses)
                .flatMap(one -> Arrays.stream(one.split(",")))
                .map(String::strip)
                .filter(one -> !one.isEmpty())
                .distinct()
                .toList();
    }
}
