package dev.layeron.job;

import org.jspecify.annotations.Nullable;

/**
 * How a batch is sent.
 *
 * @param batchSize how many items go into one call, 1 to 1,000; 500 by default
 * @param concurrency how many calls are under way at once; 2 by default
 * @param progress hears how far the batch is; null for nobody
 */
public record BatchOptions(
        int batchSize, int concurrency, @Nullable BatchProgress progress) {
    static final BatchOptions DEFAULT = builder().build();

    /** Checks every limit. */
    public BatchOptions {
        Limits.number("batchSize", batchSize, 1, 1000);
        Limits.number("concurrency", concurrency, 1, Integer.MAX_VALUE);
    }

    /**
     * Begins with the defaults.
     *
     * @return a builder
     */
    public static Builder builder() {
        return new Builder();
    }

    /** Makes a {@link BatchOptions}. */
    public static final class Builder {
        private int batchSize = 500;
        private int concurrency = 2;
        private @Nullable BatchProgress progress;

        private Builder() {}

        /**
         * Sets how many items go into one call.
         *
         * @param batchSize 1 to 1,000
         * @return this builder
         */
        public Builder batchSize(int batchSize) {
            this.batchSize = batchSize;
            return this;
        }

        /**
         * Sets how many calls are under way at once.
         *
         * @param concurrency at least 1
         * @return this builder
         */
        public Builder concurrency(int concurrency) {
            this.concurrency = concurrency;
            return this;
        }

        /**
         * Lets somebody hear how far the batch is.
         *
         * @param progress called after each call to the server
         * @return this builder
         */
        public Builder progress(BatchProgress progress) {
            this.progress = progress;
            return this;
        }

        /**
         * Makes the options.
         *
         * @return what was set
         * @throws IllegalArgumentException with the name of what cannot be sent
         */
        public BatchOptions build() {
            return new BatchOptions(batchSize, concurrency, progress);
        }
    }
}
