package dev.layeron.job;

/**
 * One transition of one run, as a watcher sees it.
 *
 * @param runId the run
 * @param task its task
 * @param transition what happened
 * @param resumeToken goes on after this change. The server gives tokens for several changes at once, so some of those
 *     may come again; before the first of them it is the token that the watch began with.
 */
public record RunChange(String runId, String task, Transition transition, String resumeToken) {}
