package dev.layeron.job;

import java.util.List;

/**
 * A run with its history.
 *
 * @param run the run
 * @param attempts its attempts by number
 * @param transitions its transitions by seq
 */
public record RunDetails(Run run, List<Attempt> attempts, List<Transition> transitions) {}
