package worker

import (
	"math/rand/v2"
	"slices"
	"testing"
)

const many = 1_000_000

func busyShare(priority string, backlog int) *share {
	s := newShare(priority)
	s.backlog = backlog
	return &s
}

func quietShare(priority string) *share {
	s := newShare(priority)
	return &s
}

func pulled(free int, shares ...*share) []int {
	pulls := shareOut(free, shares)
	counts := make([]int, len(shares))
	for i, s := range shares {
		counts[i] = pulls[s]
	}
	return counts
}

func TestBusyConsumersNeverGetMoreThanIsFreeNorMoreThanTheyHave(t *testing.T) {
	for seed := range uint64(300) {
		chance := rand.New(rand.NewPCG(seed, 1))
		var shares []*share
		for range 1 + chance.IntN(12) {
			shares = append(shares, quietShare([]string{"high", "normal", "low"}[chance.IntN(3)]))
		}
		for range chance.IntN(20) {
			free, wanted, got := chance.IntN(500), 0, 0
			for _, s := range shares {
				s.backlog = chance.IntN(300)
				wanted += s.backlog
			}
			pulls := shareOut(free, shares)
			for _, s := range shares {
				if s.backlog > 0 {
					got += pulls[s]
				}
				if pulls[s] < 0 || s.backlog > 0 && pulls[s] > s.backlog || s.owed <= -1 {
					t.Fatalf("seed %d: %+v pulls %d", seed, *s, pulls[s])
				}
			}
			if got != min(free, wanted) {
				t.Fatalf("seed %d: %d of %d free were pulled of %d", seed, got, free, wanted)
			}
		}
	}
}

func TestCreditsGoByWeightAndNobodyIsStarved(t *testing.T) {
	if got := pulled(210, busyShare("high", many), busyShare("normal", many), busyShare("low", many)); !slices.Equal(got, []int{160, 40, 10}) {
		t.Error(got)
	}
	shares := []*share{busyShare("low", many), busyShare("normal", many), busyShare("high", many)}
	sums := make([]int, 3)
	for range 2_100 {
		for i, count := range pulled(1, shares...) {
			sums[i] += count
		}
	}
	if !slices.Equal(sums, []int{100, 400, 1_600}) {
		t.Error(sums)
	}
	if got := pulled(100, busyShare("high", 3), busyShare("normal", many), busyShare("low", 1)); !slices.Equal(got, []int{3, 96, 1}) {
		t.Error(got)
	}
}

func TestQuietConsumersAreListenedTo(t *testing.T) {
	for _, one := range []struct {
		free   int
		shares []*share
		want   []int
	}{
		{0, []*share{busyShare("high", many), quietShare("low")}, []int{0, 0}},
		{-3, []*share{busyShare("high", many), quietShare("low")}, []int{0, 0}},
		{1, []*share{quietShare("low"), quietShare("high"), quietShare("normal")}, []int{1, 1, 1}},
		{10, []*share{busyShare("high", many), quietShare("low")}, []int{10, 1}},
		{60, []*share{quietShare("high"), quietShare("normal"), quietShare("low")}, []int{1, 1, 1}},
		{10, []*share{busyShare("urgent", many), busyShare("normal", many)}, []int{5, 5}},
		{10, []*share{{weight: 16, backlog: many, outstanding: 5}, busyShare("low", many)}, []int{0, 10}},
	} {
		if got := pulled(one.free, one.shares...); !slices.Equal(got, one.want) {
			t.Errorf("%d free: %v, not %v", one.free, got, one.want)
		}
	}
	doorbell := &share{outstanding: 1, listening: true}
	if doorbell.reserved() != 0 {
		t.Error("a doorbell holds a credit")
	}
	if doorbell.close(); doorbell.reserved() != 0 {
		t.Error("a pull that is over holds credits")
	}
}

func TestTheBacklogIsReadFromBothFormsOfReplySubjects(t *testing.T) {
	for reply, want := range map[string]int{
		"$JS.ACK.stream.consumer.1.2.3.4.77":                    77,
		"$JS.ACK.domain.hash.stream.consumer.1.2.3.4.78.random": 78,
		"": 5,
	} {
		c := &consumer{share: share{backlog: 5}, lastReply: reply}
		if c.lookAtBacklog(); c.backlog != want {
			t.Errorf("%q: %d, not %d", reply, c.backlog, want)
		}
	}
}
