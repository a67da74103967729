package scaffold

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNewRefuses: what is wrong leaves nothing behind.
func TestNewRefuses(t *testing.T) {
	there := t.TempDir()
	for _, test := range []struct{ dir, name, language, want string }{
		{"a", "", "go", "want a name"},
		{"a", "A", "go", "want a name"},
		{"a", "../a", "go", "want a name"},
		{"a", strings.Repeat("a", 64), "go", "want a name"},
		{"a", "a", "cobol", "want one of go, rust, assemblyscript, c"},
		{"a", "a", "", "want one of go, rust, assemblyscript, c"},
		{"a", "a", "..", "want one of go, rust, assemblyscript, c"},
		{".", "a", "go", "exists"},
		{"none/a", "a", "go", "no such file"},
	} {
		err := New(filepath.Join(there, test.dir), test.name, test.language)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: got %v", test, err)
		}
	}
	if list, err := os.ReadDir(there); err != nil || len(list) > 0 {
		t.Errorf("%v is left, %v", list, err)
	}
}

// TestModulePath: the Go command takes no module's path that one of its own could have, such
// as go or std, so that a plugin of that name has a path below a domain.
func TestModulePath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "go")
	switch err := New(dir, "go", "go"); {
	case err != nil && strings.Contains(err.Error(), "built without the SDKs"):
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil || !strings.HasPrefix(string(text), "module example.com/go\n") {
		t.Errorf("got %v\n%s", err, text)
	}
}
