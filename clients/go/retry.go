package job

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	jobv1 "layeron.dev/job/gen/layeron/job/v1"
)

const (
	day               = 24 * time.Hour
	backoffMax        = 30 * day
	maxElapsedMax     = 3650 * day
	retryAttemptsMax  = 1000
	delaysMax         = 100
	nonRetryableMax   = 32
	errorTypeMax      = 255
	multiplierMax     = 100
	defaultAttempts   = 3
	defaultInitial    = 5 * time.Second
	defaultMaximum    = 300 * time.Second
	defaultMultiplier = 2
)

// RetryPolicy says how often and when a run is tried again after an attempt failed, timed out or was lost. The zero
// value is the default policy: 3 attempts, exponential back-off.
type RetryPolicy struct {
	// Attempts may count, the first included: 1 to 1000. 0 means 3.
	Attempts int
	// Backoff is the wait before the next attempt: Fixed, Exponential or Delays. Nil means Exponential{}.
	Backoff Backoff
	// Jitter is the share of a wait, 0 to 1, up to which it is lengthened by chance. Nil means 0.1; new(0.0) is none.
	Jitter *float64
	// MaxElapsed: no retry later than this after the first start, at most 10 years. 0 means no such limit.
	MaxElapsed time.Duration
	// NonRetryable are the error types that end the run at once, by their exact names (see worker.Typed). "Timeout" and
	// "Lost" name those two outcomes. At most 32.
	NonRetryable []string
}

// Backoff is a Fixed, Exponential or Delays.
type Backoff interface {
	fill(policy *jobv1.RetryPolicy) error
}

// Fixed waits the same time after every failure, 0 to 30 days.
type Fixed time.Duration

// Exponential waits Initial, Initial × Multiplier, Initial × Multiplier² … up to Maximum.
type Exponential struct {
	// Initial is the wait after the first failure, at most 30 days. 0 means 5 s.
	Initial time.Duration
	// Maximum is the longest wait, from Initial to 30 days. 0 means 300 s.
	Maximum time.Duration
	// Multiplier is the growth per failure, 1 to 100. 0 means 2.
	Multiplier float64
}

// Delays names 1 to 100 waits, one by one: the first failure uses the first, and the last one repeats.
type Delays []time.Duration

func (f Fixed) fill(policy *jobv1.RetryPolicy) error {
	if err := checkWait(time.Duration(f)); err != nil {
		return err
	}
	policy.Backoff = &jobv1.RetryPolicy_Fixed{Fixed: &jobv1.FixedBackoff{Delay: durationpb.New(time.Duration(f))}}
	return nil
}

func (e Exponential) fill(policy *jobv1.RetryPolicy) error {
	e = e.withDefaults()
	switch {
	case checkWait(e.Initial) != nil:
		return checkWait(e.Initial)
	case e.Maximum < e.Initial || e.Maximum > backoffMax:
		return &FieldError{"retry.backoff", fmt.Sprintf("must have a maximum of %v to 30 days, not %v", e.Initial, e.Maximum)}
	case !(e.Multiplier >= 1 && e.Multiplier <= multiplierMax):
		return &FieldError{"retry.backoff", fmt.Sprintf("must have a multiplier of 1 to %d, not %g", multiplierMax, e.Multiplier)}
	}
	policy.Backoff = &jobv1.RetryPolicy_Exponential{Exponential: &jobv1.ExponentialBackoff{
		Initial: durationpb.New(e.Initial), Maximum: durationpb.New(e.Maximum), Multiplier: &e.Multiplier,
	}}
	return nil
}

func (e Exponential) withDefaults() Exponential {
	if e.Initial == 0 {
		e.Initial = defaultInitial
	}
	if e.Maximum == 0 {
		e.Maximum = max(defaultMaximum, e.Initial)
	}
	if e.Multiplier == 0 {
		e.Multiplier = defaultMultiplier
	}
	return e
}

func (d Delays) fill(policy *jobv1.RetryPolicy) error {
	if len(d) == 0 || len(d) > delaysMax {
		return &FieldError{"retry.backoff", fmt.Sprintf("must name 1 to %d waits, not %d", delaysMax, len(d))}
	}
	waits := make([]*durationpb.Duration, len(d))
	for i, wait := range d {
		if err := checkWait(wait); err != nil {
			return err
		}
		waits[i] = durationpb.New(wait)
	}
	policy.Backoff = &jobv1.RetryPolicy_Custom{Custom: &jobv1.CustomBackoff{Delays: waits}}
	return nil
}

func checkWait(wait time.Duration) error {
	if wait < 0 || wait > backoffMax {
		return &FieldError{"retry.backoff", fmt.Sprintf("must wait 0 to 30 days, not %v", wait)}
	}
	return nil
}

// Proto returns the policy as the contract has it, or a *FieldError for a value out of its limits.
func (p RetryPolicy) Proto() (*jobv1.RetryPolicy, error) {
	if p.Attempts == 0 {
		p.Attempts = defaultAttempts
	}
	if p.Backoff == nil {
		p.Backoff = Exponential{}
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	attempts := int32(p.Attempts)
	policy := &jobv1.RetryPolicy{MaxAttempts: &attempts, Jitter: p.Jitter, NonRetryableTypes: p.NonRetryable}
	if p.MaxElapsed != 0 {
		policy.MaxElapsed = durationpb.New(p.MaxElapsed)
	}
	return policy, p.Backoff.fill(policy)
}

func (p RetryPolicy) check() error {
	switch {
	case p.Attempts < 1 || p.Attempts > retryAttemptsMax:
		return &FieldError{"retry.attempts", fmt.Sprintf("must be 1 to %d, not %d", retryAttemptsMax, p.Attempts)}
	case p.Jitter != nil && !(*p.Jitter >= 0 && *p.Jitter <= 1):
		return &FieldError{"retry.jitter", fmt.Sprintf("must be 0 to 1, not %g", *p.Jitter)}
	case p.MaxElapsed < 0 || p.MaxElapsed > maxElapsedMax:
		return &FieldError{"retry.max_elapsed", fmt.Sprintf("must be 0 to 10 years, not %v", p.MaxElapsed)}
	case len(p.NonRetryable) > nonRetryableMax:
		return &FieldError{"retry.non_retryable", fmt.Sprintf("must have at most %d types, not %d", nonRetryableMax, len(p.NonRetryable))}
	}
	for _, name := range p.NonRetryable {
		if size := len([]rune(name)); size < 1 || size > errorTypeMax {
			return &FieldError{"retry.non_retryable", fmt.Sprintf("must have types of 1 to %d characters, not %d", errorTypeMax, size)}
		}
	}
	return nil
}

// retryFrom reads a policy as the server gives it.
func retryFrom(policy *jobv1.RetryPolicy) RetryPolicy {
	read := RetryPolicy{
		Attempts:     defaultAttempts,
		Backoff:      backoffFrom(policy),
		MaxElapsed:   policy.GetMaxElapsed().AsDuration(),
		NonRetryable: policy.GetNonRetryableTypes(),
	}
	if policy != nil {
		read.Jitter = policy.Jitter
	}
	if attempts := policy.GetMaxAttempts(); attempts != 0 {
		read.Attempts = int(attempts)
	}
	return read
}

func backoffFrom(policy *jobv1.RetryPolicy) Backoff {
	switch backoff := policy.GetBackoff().(type) {
	case *jobv1.RetryPolicy_Fixed:
		return Fixed(backoff.Fixed.GetDelay().AsDuration())
	case *jobv1.RetryPolicy_Custom:
		delays := make(Delays, len(backoff.Custom.GetDelays()))
		for i, delay := range backoff.Custom.GetDelays() {
			delays[i] = delay.AsDuration()
		}
		return delays
	}
	growing := policy.GetExponential()
	return Exponential{
		Initial: growing.GetInitial().AsDuration(), Maximum: growing.GetMaximum().AsDuration(), Multiplier: growing.GetMultiplier(),
	}.withDefaults()
}
