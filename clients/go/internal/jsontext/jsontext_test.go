package jsontext_test

import (
	"encoding/json"
	"strings"
	"testing"

	"layeron.dev/job/internal/jsontext"
)

func TestWhatTheContractTakesIsTaken(t *testing.T) {
	for _, text := range []string{
		`null`, `9007199254740991`, `-9007199254740991`, `-0`, `1.5e300`, `1e-400`, `"\ud83d\ude00"`, `"\\u0000"`, `"\ufffd\u2028"`,
		strings.Repeat("[", 20) + strings.Repeat("]", 20), `{"a":[1,"b\"[[[[[[[[[[[[[[[[[[[[[["]}`, `[[],[],{}]`,
	} {
		if err := jsontext.Check([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestWhatTheContractForbidsIsFound(t *testing.T) {
	for text, problem := range map[string]string{
		`9007199254740992`: "2^53", `[-9007199254740992]`: "2^53", `1234567890123456789012345`: "2^53", `{"a":1e400}`: "finite",
		`"a\u0000"`: "U+0000", `{"\u0000":1}`: "U+0000", `"\ud83d"`: "surrogate", `"\ud83dx"`: "surrogate", `"\ude00\ud83d"`: "surrogate",
		`"\ud83d\ud83d\ude00"`: "surrogate", strings.Repeat("[", 21) + strings.Repeat("]", 21): "deeper", strings.Repeat(`{"a":`, 21) + "1" + strings.Repeat("}", 21): "deeper",
	} {
		if err := jsontext.Check([]byte(text)); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestHTMLIsNotEscapedAndOtherTextIsRefused(t *testing.T) {
	if text, err := jsontext.Encode("<&>"); err != nil || string(text) != `"<&>"` {
		t.Errorf("%s, %v", text, err)
	}
	if _, err := jsontext.Encode(json.RawMessage("\"\xff\"")); err == nil {
		t.Error("bytes that are not UTF-8 were taken")
	}
}

// FuzzCheck: nothing that is JSON makes Check panic.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{`{"a":["\ud83d\ude00",1.5e3,-1,null,true]}`, `"\\"`, `""`, `[]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if json.Valid(text) {
			_ = jsontext.Check(text) // either answer will do
		}
	})
}
