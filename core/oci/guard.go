package oci

import "os"

// maxGuards bounds how many images Guard remembers.
const maxGuards = 4096

// Guard reports whether an image says of itself that it is a guard, by what is stored of
// it: in a layout, or from the last pull. One that was never pulled says nothing. No
// registry is asked.
func (s *Store) Guard(reference string) bool {
	r, err := ParseReference(reference)
	if err != nil {
		return false
	}
	for _, dir := range s.o.Layouts {
		if d, err := findInLayout(dir, r); err == nil {
			return s.guard(d.Digest.String(), func() (*Image, error) { return fromLayout(dir, r) })
		}
	}
	if r.Digest == "" {
		last, err := os.ReadFile(s.tagFile(r))
		if err != nil {
			return false
		}
		r.Digest = string(last)
	}
	return s.guard(r.Digest, func() (*Image, error) { return s.stored(r.Digest) })
}

// guard remembers the answer: a digest's is always the same.
func (s *Store) guard(digest string, read func() (*Image, error)) bool {
	s.mu.Lock()
	answer, known := s.guards[digest]
	s.mu.Unlock()
	if known {
		return answer
	}
	img, err := read()
	if err != nil {
		return false // it is not there, or not whole: that may change
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guards == nil || len(s.guards) >= maxGuards {
		s.guards = map[string]bool{}
	}
	s.guards[digest] = img.Manifest.Guard
	return img.Manifest.Guard
}
