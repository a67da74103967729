package bed

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Request is what the API server's audit log says of a request of Penstock's.
type Request struct {
	AuditID   string
	Stage     string // ResponseStarted (a watch goes on), ResponseComplete, Panic
	Verb      string
	Time      time.Time `json:"requestReceivedTimestamp"`
	UserAgent string
	User      struct {
		Username string
		Extra    map[string][]string // of a Pod's token: its name
	}
	ObjectRef struct {
		APIGroup, Resource, Subresource, Namespace, Name string
	}
	ResponseStatus struct {
		Code    int
		Message string
	}
}

// Pod returns the name of the Pod that asked.
func (r *Request) Pod() string {
	if names := r.User.Extra["authentication.kubernetes.io/pod-name"]; len(names) > 0 {
		return names[0]
	}
	return ""
}

// Write reports whether the request changes something.
func (r *Request) Write() bool {
	switch r.Verb {
	case "get", "list", "watch":
		return false
	}
	return true
}

// Audit is a place in the audit log.
type Audit struct {
	file string
	at   int64
}

// Audit returns the place in the audit log where it ends now.
func (b *Bed) Audit() (*Audit, error) {
	a := &Audit{file: filepath.Join(b.Logs(), "audit.log")}
	info, err := os.Stat(a.file)
	if err != nil {
		return nil, err
	}
	a.at = info.Size()
	return a, nil
}

// Next returns the requests since the last call, each once, at its first stage.
func (a *Audit) Next() ([]*Request, error) {
	f, err := os.Open(a.file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(a.at, io.SeekStart); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var all []*Request
	for r := bufio.NewReaderSize(f, 1<<20); ; {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			return all, nil // what is half written comes with the next call
		}
		if err != nil {
			return nil, err
		}
		a.at += int64(len(line))
		var one Request
		if json.Unmarshal(line, &one) == nil && !seen[one.AuditID] {
			seen[one.AuditID] = true
			all = append(all, &one)
		}
	}
}
