/**
 * Client of Layeron Job, a durable background-job service: ask for a named task to be run with a JSON payload, then
 * look at the run, wait for it, watch it, cancel it or do it again.
 *
 * <p>{@link dev.layeron.job.JobClient} is where to begin. What is not marked as nullable is never null. The generated
 * stubs of the contract are in {@code dev.layeron.job.v1}.
 */
@NullMarked
package dev.layeron.job;

import org.jspecify.annotations.NullMarked;
