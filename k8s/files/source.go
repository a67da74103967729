package files

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/translate"
)

const (
	// debounce is how long a folder must be quiet before it is read, but for
	// maxDelay at most.
	debounce = 100 * time.Millisecond
	maxDelay = time.Second
	// rescan is how often it is read without a sign of change: file systems
	// without notification, and what depends on time.
	rescan = 5 * time.Second
	// renew is how often an unchanged folder is translated again: what depends on
	// time are last good forms, in minutes and hours.
	renew = time.Minute
)

// Options of a Source.
type Options struct {
	Dir        string
	Log        *zap.Logger
	Translator *translate.Translator
}

// Source reads a folder.
type Source struct {
	o      Options
	folder folder
	last   *config.Config
	made   time.Time       // when it was translated last
	told   map[string]bool // problems that were logged

	mu       sync.Mutex
	problems []translate.Problem
	result   *translate.Result
}

// New returns a source that has read nothing.
func New(o Options) *Source {
	return &Source{o: o, folder: folder{dir: o.Dir, files: map[string]*fileState{}}, told: map[string]bool{}}
}

// Problems returns what is wrong with the folder now. Any goroutine may call it.
func (s *Source) Problems() []translate.Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problems
}

// Checked is a folder as Check found it.
type Checked struct {
	Config   *config.Config
	Problems []translate.Problem
	Files    map[config.Object]string // where each object is
	// Status and Services as translate.Result has them.
	Status   translate.Statuses
	Services []*corev1.Service
}

// Check reads a folder once and returns what it asks for, and everything that is
// wrong with it. The error is for a folder that cannot be read.
func Check(dir string, t *translate.Translator) (*Checked, error) {
	s := New(Options{Dir: dir, Log: zap.NewNop(), Translator: t})
	c, _, err := s.load()
	if err != nil {
		return nil, err
	}
	_, where, _ := s.folder.objects()
	return &Checked{Config: c, Problems: s.Problems(), Files: where, Status: s.result.Status, Services: s.result.Services}, nil
}

// Run reads the folder, hands the config to apply, and does so again whenever
// it changes, until ctx is done. The error is that of the first reading or the
// first apply; later ones are logged, and the last good config serves.
func (s *Source) Run(ctx context.Context, apply func(*config.Config) error) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", s.o.Dir, err)
	}
	defer watcher.Close()
	c, dirs, err := s.load()
	if err != nil {
		return err
	}
	s.watch(watcher, dirs)
	if err := apply(c); err != nil {
		return err
	}
	s.last = c
	for s.wait(ctx, watcher) {
		c, dirs, err := s.load()
		if err != nil {
			s.tell(translate.Problem{Reason: "Invalid", File: s.o.Dir, Message: err.Error()})
			continue
		}
		s.watch(watcher, dirs)
		if c == s.last {
			continue
		}
		if err := apply(c); err != nil {
			s.o.Log.Error("config not applied as a whole", zap.Error(err))
		}
		s.last = c
	}
	return ctx.Err()
}

// load reads what changed and translates.
func (s *Source) load() (*config.Config, []string, error) {
	changed, dirs, err := s.folder.refresh()
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", s.o.Dir, err)
	}
	if !changed && s.last != nil && time.Since(s.made) < renew {
		return s.last, dirs, nil
	}
	s.made = time.Now()
	objects, where, problems := s.folder.objects()
	made := s.o.Translator.Translate(objects)
	for _, p := range made.Problems {
		p.File = where[p.Object]
		problems = append(problems, p)
	}
	s.mu.Lock()
	s.problems, s.result = problems, made
	s.mu.Unlock()
	s.log(problems)
	return made.Config, dirs, nil
}

// log writes problems that are new, and says when one is gone.
func (s *Source) log(problems []translate.Problem) {
	now := map[string]bool{}
	for _, p := range problems {
		text := p.File + " " + p.String()
		now[text] = true
		if !s.told[text] {
			s.tell(p)
		}
	}
	gone := 0
	for text := range s.told {
		if !now[text] {
			gone++
		}
	}
	if gone > 0 {
		s.o.Log.Info("problems solved", zap.Int("count", gone), zap.Int("left", len(now)))
	}
	s.told = now
}

func (s *Source) tell(p translate.Problem) {
	s.o.Log.Warn(p.Message, zap.String("file", p.File), zap.Stringer("object", p.Object), zap.String("field", p.Field), zap.String("reason", p.Reason))
}

// watch adds the folders; one that cannot be watched is found by rescanning.
func (s *Source) watch(w *fsnotify.Watcher, dirs []string) {
	for _, dir := range dirs {
		if err := w.Add(dir); err != nil {
			s.o.Log.Debug("folder not watched", zap.String("folder", dir), zap.Error(err))
		}
	}
}

// wait returns true when it is time to read again, false when ctx is done.
func (s *Source) wait(ctx context.Context, w *fsnotify.Watcher) bool {
	again := time.NewTimer(rescan)
	defer again.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-again.C:
		return true
	case err := <-w.Errors:
		s.o.Log.Debug("watching", zap.Error(err))
		return true
	case <-w.Events:
	}
	limit, quiet := time.NewTimer(maxDelay), time.NewTimer(debounce)
	defer limit.Stop()
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-limit.C:
			return true
		case <-quiet.C:
			return true
		case <-w.Events:
			quiet.Reset(debounce)
		}
	}
}
