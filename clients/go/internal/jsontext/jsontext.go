// Package jsontext writes JSON by the contract's rules: UTF-8, integers within ±(2^53−1), finite numbers, no U+0000, no
// lone surrogates, a depth of at most 20.
package jsontext

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

const (
	depthMax         = 20
	integerMax       = 1<<53 - 1
	integerDigitsMax = 16
)

// Encode returns a value as JSON by the rules of encoding/json, except that HTML is not escaped. It does not Check it.
func Encode(value any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	encoded := bytes.TrimSuffix(text.Bytes(), []byte("\n"))
	if !utf8.Valid(encoded) { // a json.RawMessage may hold anything
		return nil, errors.New("it is not UTF-8")
	}
	return encoded, nil
}

// Check returns the first thing in valid JSON that breaks a rule, and nil if nothing does. A scalar has depth 0, [] has
// depth 1.
func Check(text []byte) error {
	depth := 0
	for i := 0; i < len(text); {
		var err error
		switch c := text[i]; {
		case c == '"':
			i, err = checkString(text, i+1)
		case c == '-' || '0' <= c && c <= '9':
			i, err = checkNumber(text, i)
		case c == '[' || c == '{':
			if depth++; depth > depthMax {
				err = fmt.Errorf("it is nested deeper than %d", depthMax)
			}
			i++
		case c == ']' || c == '}':
			depth--
			i++
		default:
			i++
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkString returns the place after the string that began before i.
func checkString(text []byte, i int) (int, error) {
	for text[i] != '"' {
		if text[i] != '\\' {
			i++
			continue
		}
		if text[i+1] != 'u' {
			i += 2
			continue
		}
		switch unit := codeUnit(text[i:]); {
		case unit == 0:
			return i, errors.New("a text has U+0000")
		case unit>>10 == 0xd800>>10 && i+12 <= len(text) && text[i+6] == '\\' && text[i+7] == 'u' && codeUnit(text[i+6:])>>10 == 0xdc00>>10:
			i += 12
		case unit>>11 == 0xd800>>11:
			return i, errors.New("a text has a lone surrogate")
		default:
			i += 6
		}
	}
	return i + 1, nil
}

// codeUnit reads \u0000.
func codeUnit(escape []byte) uint64 {
	unit, _ := strconv.ParseUint(string(escape[2:6]), 16, 16)
	return unit
}

// checkNumber returns the place after the number that begins at i.
func checkNumber(text []byte, i int) (int, error) {
	end := i
	whole := true
	for ; end < len(text); end++ {
		c := text[end]
		if c == '.' || c == 'e' || c == 'E' {
			whole = false
		} else if c != '-' && c != '+' && (c < '0' || c > '9') {
			break
		}
	}
	number := string(text[i:end])
	if !whole {
		if _, err := strconv.ParseFloat(number, 64); err != nil {
			return i, errors.New("a number is not finite")
		}
		return end, nil
	}
	if len(number) < integerDigitsMax {
		return end, nil
	}
	if value, err := strconv.ParseInt(number, 10, 64); err != nil || value > integerMax || value < -integerMax {
		return i, errors.New("an integer is beyond ±(2^53-1)")
	}
	return end, nil
}
