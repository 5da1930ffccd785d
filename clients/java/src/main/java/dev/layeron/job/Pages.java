package dev.layeron.job;

import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.Spliterator;
import java.util.Spliterators.AbstractSpliterator;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/** A list that comes page by page. A page is asked for when its first entry is. */
final class Pages<T> extends AbstractSpliterator<T> {
    private final Function<String, CompletableFuture<Part<T>>> ask;
    private Iterator<T> entries = Collections.emptyIterator();
    private String nextToken = "";
    private boolean last;

    /** One page, and the token of the next one; empty after the last. */
    record Part<T>(List<T> entries, String nextToken) {}

    private Pages(Function<String, CompletableFuture<Part<T>>> ask) {
        super(Long.MAX_VALUE, Spliterator.ORDERED | Spliterator.NONNULL);
        this.ask = ask;
    }

    /** All entries of the pages that `ask` gives for a token; the first one's token is empty. */
    static <T> Stream<T> stream(Function<String, CompletableFuture<Part<T>>> ask) {
        return StreamSupport.stream(new Pages<>(ask), false);
    }

    @Override
    public boolean tryAdvance(Consumer<? super T> action) {
        while (!entries.hasNext()) {
            if (last) {
                return false;
            }
            Part<T> part = Calls.join(ask.apply(nextToken));
            entries = part.entries().iterator();
            nextToken = part.nextToken();
            last = nextToken.isEmpty();
        }
        action.accept(entries.next());
        return true;
    }
}
