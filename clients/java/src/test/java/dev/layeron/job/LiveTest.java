package dev.layeron.job;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/** Tests with a client of a real server, in a namespace of their own that has the task "work". */
abstract class LiveTest {
    protected JobClient client;

    @BeforeEach
    void open() {
        client = LiveServer.client();
    }

    @AfterEach
    void close() {
        client.close();
    }

    /** The id of a new run. */
    protected final String enqueued() {
        return client.enqueue("work", null).join().runId();
    }
}
