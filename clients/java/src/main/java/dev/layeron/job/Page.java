package dev.layeron.job;

import java.util.List;

/**
 * A page of runs, newest first.
 *
 * @param runs the runs
 * @param nextPageToken asks for the next page; empty after the last one
 */
public record Page(List<Run> runs, String nextPageToken) {}
