package dev.layeron.job;

import java.util.OptionalLong;

/** Hears how far a batch is. */
@FunctionalInterface
public interface BatchProgress {
    /**
     * Called after each call to the server, by one thread at a time.
     *
     * @param done how many runs are made
     * @param total of how many; empty if the items are no collection
     */
    void made(long done, OptionalLong total);
}
