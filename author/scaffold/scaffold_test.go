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
