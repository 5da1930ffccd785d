package worker

import (
	"log/slog"

	jobv1 "layeron.dev/job/gen/layeron/job/v1"
)

// So many answers in a row that the database is away make us look for another server.
const awayAnswersMax = 3

func (s *session) receive(stream *stream, response *jobv1.WorkResponse) {
	for _, answer := range response.GetStartAnswers() {
		s.takeStartAnswer(answer)
	}
	for _, answer := range response.GetFinishAnswers() {
		delete(s.attempts, answer.GetStartId())
	}
	if answers := len(response.GetStartAnswers()) + len(response.GetFinishAnswers()); answers > 0 {
		s.lanes.answered(answers)
		s.worker.deliveries.moreCredits()
	}
	if answer := response.GetHeartbeatAnswer(); answer != nil {
		s.takeHeartbeatAnswer(stream, answer)
	}
	for _, order := range response.GetCancelOrders() {
		for _, x := range s.named(order.GetRunId(), order.GetAttempt()) {
			x.order()
		}
	}
	if response.GetDrain() != nil {
		s.worker.logger.Info("the server shuts down; looking for another one")
		s.handOver(append(s.worker.servers.others(), s.worker.servers.current()))
	}
}

func (s *session) takeStartAnswer(answer *jobv1.StartAnswer) {
	startID := answer.GetStartId()
	delivery := s.unanswered[startID]
	if delivery == nil {
		return
	}
	delete(s.unanswered, startID)
	s.worker.deliveries.ack(delivery.reply)
	if grant := answer.GetGrant(); grant != nil {
		x := s.worker.newExecution(startID, grant)
		s.attempts[startID] = x
		s.worker.granted(x)
	}
}

func (s *session) takeHeartbeatAnswer(stream *stream, answer *jobv1.HeartbeatAnswer) {
	sentAt, found := s.lanes.heartbeatSentAt(answer.GetNumber())
	switch answer.GetVerdict() {
	case jobv1.HeartbeatVerdict_HEARTBEAT_VERDICT_SESSION_ENDED:
		s.worker.logger.Warn("the session has ended on the server or goes on elsewhere", slog.String("session", s.id))
		stream.cancel()
		return
	case jobv1.HeartbeatVerdict_HEARTBEAT_VERDICT_DATABASE_AWAY:
		s.awayAnswers++
	default:
		s.awayAnswers = 0
	}
	if found {
		// Also when the database is away: the server then lengthens every lease once it is back.
		s.keepUntil(sentAt)
	}
	if others := s.worker.servers.others(); s.awayAnswers >= awayAnswersMax && len(others) > 0 {
		s.awayAnswers = 0
		s.handOver(others)
	}
}

func (s *session) supersede(gone *jobv1.OpenAttempt) {
	for _, x := range s.named(gone.GetRunId(), gone.GetAttempt()) {
		x.abandon()
		delete(s.attempts, x.startID)
	}
}

func (s *session) named(runID string, number int32) []*execution {
	var found []*execution
	for _, x := range s.attempts {
		if x.attempt.RunID == runID && x.attempt.Number == int(number) {
			found = append(found, x)
		}
	}
	return found
}
