package worker

import (
	"cmp"
	"slices"
)

// share is one consumer's claim on the worker's credits.
type share struct {
	weight int // 16 for high, 4 for normal, 1 for low
	// backlog is how many messages it was last known to have beyond those delivered; 0: none known.
	backlog int
	// outstanding is how many messages the pull under way may still bring; 0: no pull.
	outstanding int
	// listening: the pull under way is a doorbell: it may bring one message, which is not counted against the credits.
	listening bool
	// owed is what its weight has earned it beyond what it had; more than -1.
	owed float64
}

func newShare(priority string) share {
	switch priority {
	case "high":
		return share{weight: 16}
	case "low":
		return share{weight: 1}
	}
	return share{weight: 4}
}

// reserved is how many credits its pull holds.
func (s *share) reserved() int {
	if s.listening {
		return 0
	}
	return s.outstanding
}

// close ends its pull.
func (s *share) close() {
	s.outstanding, s.listening = 0, false
}

// shareOut returns how many messages to pull now for each share, with free credits and the reserved ones already taken
// off.
//
// Consumers with a known backlog get credits by weight; what some have no use for goes to the others in order of
// priority. Each of the rest gets a doorbell of one message even if nothing is left, so that a worker with one slot and
// three consumers hears all of them; that is the only way to hold more than there are credits for. A longer one would keep
// credits from the others for as long as it is quiet.
func shareOut(free int, shares []*share) map[*share]int {
	pulls := make(map[*share]int, len(shares))
	if free <= 0 {
		return pulls
	}
	var busy []*share
	for _, s := range slices.SortedStableFunc(slices.Values(shares), func(a, b *share) int { return b.weight - a.weight }) {
		switch {
		case s.outstanding > 0:
		case s.backlog > 0:
			busy = append(busy, s)
		default:
			pulls[s] = 1
		}
	}
	shareByWeight(free, busy, pulls)
	return pulls
}

// shareByWeight fills in the pulls of consumers with a backlog.
func shareByWeight(free int, busy []*share, pulls map[*share]int) {
	left, total := free, 0
	for _, s := range busy {
		total += s.weight
	}
	for _, s := range busy {
		s.owed = min(s.owed+float64(free*s.weight)/float64(total), float64(s.backlog))
		pulls[s] = max(0, min(int(s.owed), left))
		left -= pulls[s]
	}
	// Parts of credits make whole ones: one each, to those that most is owed.
	most := func(a, b *share) int { return cmp.Compare(float64(pulls[a])-a.owed, float64(pulls[b])-b.owed) }
	for _, s := range slices.SortedStableFunc(slices.Values(busy), most) {
		if left > 0 && float64(pulls[s]) < s.owed {
			pulls[s]++
			left--
		}
	}
	// What others have no use for is a gift: were it a debt, it would grow for ever.
	for _, s := range busy {
		s.owed -= float64(pulls[s])
		gift := min(s.backlog-pulls[s], left)
		pulls[s] += gift
		left -= gift
	}
}
