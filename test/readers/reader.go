// Prints the decisive values that Go's encoding/json sees, one line for each message text in base64.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"unicode/utf16"
)

type message struct {
	ID     json.RawMessage `json:"id"`
	Method json.RawMessage `json:"method"`
	Params *struct {
		Name      json.RawMessage `json:"name"`
		URI       json.RawMessage `json:"uri"`
		RequestID json.RawMessage `json:"requestId"`
		Meta      *struct {
			ProgressToken json.RawMessage `json:"progressToken"`
		} `json:"_meta"`
	} `json:"params"`
}

func shown(raw json.RawMessage) string {
	if len(raw) == 0 {
		return ""
	}
	switch raw[0] {
	case '{', '[':
		return "o"
	case 't', 'f', 'n':
		return "l" + string(raw)
	case '"':
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return "?"
		}
		var units []byte
		for _, unit := range utf16.Encode([]rune(text)) {
			units = append(units, byte(unit>>8), byte(unit))
		}
		return "s" + hex.EncodeToString(units)
	}
	return "n" + string(raw)
}

func (m message) values() string {
	var name, uri, requestID, token json.RawMessage
	if m.Params != nil {
		name, uri, requestID = m.Params.Name, m.Params.URI, m.Params.RequestID
		if m.Params.Meta != nil {
			token = m.Params.Meta.ProgressToken
		}
	}
	values := []json.RawMessage{m.ID, m.Method, name, uri, requestID, token}
	words := make([]string, len(values))
	for at, value := range values {
		words[at] = shown(value)
	}
	return strings.Join(words, ",")
}

func seen(text []byte) string {
	var messages []message
	if bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("[")) {
		if json.Unmarshal(text, &messages) != nil {
			return "!"
		}
	} else {
		var one message
		if json.Unmarshal(text, &one) != nil {
			return "!"
		}
		messages = append(messages, one)
	}
	lines := make([]string, len(messages))
	for at, each := range messages {
		lines[at] = each.values()
	}
	return strings.Join(lines, "|")
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		text, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(line, "\n"))
		if err != nil {
			panic(err)
		}
		out.WriteString(seen(text) + "\n")
	}
}
