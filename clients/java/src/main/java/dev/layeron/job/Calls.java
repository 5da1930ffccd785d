package dev.layeron.job;

import dev.layeron.job.JobException.DeadlineExceeded;
import dev.layeron.job.JobException.Overloaded;
import dev.layeron.job.JobException.Told;
import dev.layeron.job.JobException.Unavailable;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptors;
import io.grpc.ConnectivityState;
import io.grpc.Context.CancellableContext;
import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * How the client calls its servers: channels, deadlines, repeats and errors, in one place.
 *
 * <p>A call has one deadline for all its tries. What is UNAVAILABLE is tried again until then, at the next address if
 * there are several, after waits of 0 to 0.05 s, doubling to 0 to 1 s. This is safe for every RPC of the client:
 * Enqueue, EnqueueBatch and ReplayRun carry run ids that were chosen before the first try, and the others may be done
 * twice. Nothing else is tried again, and every error of a call is a JobException.
 */
final class Calls implements AutoCloseable {
    private static final int MESSAGE_BYTES_MAX = 16 * 1024 * 1024;
    private static final Metadata.Key<String> AUTHORIZATION =
            Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

    private final List<String> addresses;
    private final ChannelCredentials credentials;
    private final Metadata headers = new Metadata();
    private final Duration timeout;
    private final Map<String, Server> servers = new HashMap<>();
    private final Set<Pending<?>> underWay = ConcurrentHashMap.newKeySet();
    private int at;
    private boolean closed;

    /** A connection to one address. */
    private record Server(String address, ManagedChannel channel, Channel calls) {}

    Calls(List<String> addresses, ChannelCredentials credentials, @Nullable String token, Duration timeout) {
        this.addresses = addresses;
        this.credentials = credentials;
        this.timeout = timeout;
        if (token != null) {
            headers.put(AUTHORIZATION, "Bearer " + token);
        }
    }

    List<String> addresses() {
        return addresses;
    }

    /** How long a call may take, repeats included. */
    Duration timeout() {
        return timeout;
    }

    /** The client's timeout, from now on. */
    Patience patience() {
        return patience(timeout);
    }

    Patience patience(Duration limit) {
        return new Patience(
                limit, System::nanoTime, () -> ThreadLocalRandom.current().nextDouble());
    }

    /** The answer to a request, within the client's timeout, as `read` makes it of the server's. */
    <Q, A, T> CompletableFuture<T> unary(MethodDescriptor<Q, A> rpc, Q request, Function<A, T> read) {
        return begin(pending -> repeat(pending, rpc, request, read, patience(), false));
    }

    /** As `unary`, and tried again also when the server is overloaded. */
    <Q, A, T> CompletableFuture<T> unaryOnceThereIsRoom(MethodDescriptor<Q, A> rpc, Q request, Function<A, T> read) {
        return begin(pending -> repeat(pending, rpc, request, read, patience(), true));
    }

    private <Q, A, T> void repeat(
            Pending<T> pending,
            MethodDescriptor<Q, A> rpc,
            Q request,
            Function<A, T> read,
            Patience patience,
            boolean waitForRoom) {
        pending.follow(once(rpc, request, patience.left()), answer -> pending.complete(read.apply(answer)), error -> {
            if (!(error instanceof Unavailable || (waitForRoom && error instanceof Overloaded))) {
                throw error;
            }
            pending.after(patience.bear(error), () -> repeat(pending, rpc, request, read, patience, waitForRoom));
        });
    }

    /** Begins what takes several calls; closing the client ends it. */
    <T> CompletableFuture<T> begin(Consumer<Pending<T>> steps) {
        Pending<T> pending = new Pending<>();
        underWay.add(pending);
        Pending.whenOver(pending.result(), (value, error) -> underWay.remove(pending));
        try {
            steps.accept(pending);
        } catch (RuntimeException error) {
            underWay.remove(pending);
            throw error;
        }
        return pending.result();
    }

    /** The answer to a single try. */
    <Q, A> CompletableFuture<A> once(MethodDescriptor<Q, A> rpc, Q request, Duration timeLeft) {
        Server server = server();
        CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(timeLeft.toNanos(), TimeUnit.NANOSECONDS);
        ClientCall<Q, A> call = server.calls().newCall(rpc, options);
        CompletableFuture<A> answer = new CompletableFuture<>();
        ClientCalls.asyncUnaryCall(call, request, new StreamObserver<>() {
            @Override
            public void onNext(A value) {
                answer.complete(value);
            }

            @Override
            public void onError(Throwable error) {
                answer.completeExceptionally(told(error, server));
            }

            @Override
            public void onCompleted() {}
        });
        Pending.whenOver(answer, (value, error) -> {
            if (answer.isCancelled()) {
                call.cancel("canceled by the caller", null);
            }
        });
        return answer;
    }

    /** The messages of one stream, which has no deadline and ends when the context is canceled. */
    <Q, A> Iterator<A> stream(MethodDescriptor<Q, A> rpc, Q request, CancellableContext context) {
        Server server = server();
        Iterator<A> answers;
        var before = context.attach();
        try {
            answers = ClientCalls.blockingServerStreamingCall(server.calls(), rpc, CallOptions.DEFAULT, request);
        } finally {
            context.detach(before);
        }
        return new Iterator<>() {
            @Override
            public boolean hasNext() {
                try {
                    return answers.hasNext();
                } catch (StatusRuntimeException error) {
                    throw told(error, server);
                }
            }

            @Override
            public A next() {
                return answers.next();
            }
        };
    }

    /** Waits for an answer. What it failed with is thrown as it is; an interrupt cancels it. */
    static <T> T join(CompletableFuture<T> answer) {
        try {
            return answer.get();
        } catch (InterruptedException interrupted) {
            answer.cancel(false);
            Thread.currentThread().interrupt();
            throw new CancellationException("interrupted while waiting for the server");
        } catch (ExecutionException failed) {
            if (failed.getCause() instanceof RuntimeException error) {
                throw error;
            }
            throw new IllegalStateException(failed.getCause());
        }
    }

    /** Ends all calls and connections. */
    @Override
    public void close() {
        synchronized (this) {
            closed = true;
            servers.values().forEach(server -> server.channel().shutdownNow());
        }
        underWay.forEach(pending -> pending.fail(closedDuringTheCall()));
    }

    static JobException closedDuringTheCall() {
        return new JobException(Told.plain(Status.Code.CANCELLED, "the client was closed during the call"), null);
    }

    synchronized boolean isClosed() {
        return closed;
    }

    /** The server in use. */
    private synchronized Server server() {
        if (closed) {
            throw new IllegalStateException("the client is closed");
        }
        Server server = servers.computeIfAbsent(addresses.get(at), this::connect);
        if (server.channel().getState(false) == ConnectivityState.TRANSIENT_FAILURE) {
            // By itself gRPC would not try a server that is back for up to two minutes.
            server.channel().resetConnectBackoff();
        }
        return server;
    }

    private Server connect(String address) {
        ManagedChannel channel = Grpc.newChannelBuilder(address, credentials)
                .maxInboundMessageSize(MESSAGE_BYTES_MAX)
                // A connection that was cut without a word is noticed, also between calls.
                .keepAliveTime(20, TimeUnit.SECONDS)
                .keepAliveTimeout(10, TimeUnit.SECONDS)
                .keepAliveWithoutCalls(true)
                // Repeats are made here, where it is known what is safe.
                .disableRetry()
                .build();
        return new Server(
                address,
                channel,
                ClientInterceptors.intercept(channel, MetadataUtils.newAttachHeadersInterceptor(headers)));
    }

    private JobException told(Throwable error, Server server) {
        if (isClosed()) {
            return closedDuringTheCall();
        }
        JobException told = Errors.of(
                Status.fromThrowable(error).asRuntimeException(Status.trailersFromThrowable(error)), server.address());
        if (told instanceof Unavailable || told instanceof DeadlineExceeded) {
            turnFrom(server.address());
        }
        return told;
    }

    /** Of many calls that fail together only the first one turns to the next address. */
    private synchronized void turnFrom(String address) {
        if (address.equals(addresses.get(at))) {
            at = (at + 1) % addresses.size();
        }
    }
}
