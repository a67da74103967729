package store

import "slices"

// limit returns how large a body may be at most, in bytes.
func (s *Store) limit() int64 {
	if s.disk != nil {
		return max(s.memoryLimit(), s.disk.largest())
	}
	return s.memoryLimit()
}

// memoryLimit returns how large a body in memory may be.
func (s *Store) memoryLimit() int64 { return min(s.options.MemoryBytes/16, maxMemory) }

// bounds returns what is too large, as ErrBounds with its name.
func bounds(key, variant, head []byte, a Attributes) error {
	for _, b := range []struct {
		name      string
		got, most int
	}{
		{"key", len(key), MaxKey}, {"variant", len(variant), MaxKey}, {"head", len(head), MaxHead},
		{"namespace", len(a.Namespace), MaxName}, {"service", len(a.Service), MaxName},
		{"hostname", len(a.Hostname), MaxName}, {"path", len(a.Path), MaxPath}, {"tags", len(a.Tags), MaxTags},
	} {
		if b.got > b.most {
			return &boundError{b.name, b.got, b.most}
		}
	}
	for _, t := range a.Tags {
		if len(t) > MaxTag || len(t) == 0 {
			return &boundError{"tag", len(t), MaxTag}
		}
	}
	if a.Namespace == "" {
		return &boundError{"namespace", 0, MaxName}
	}
	return nil
}

// distinct returns tags without those that came before.
func distinct(tags [][]byte) [][]byte {
	for i := range tags {
		if slices.ContainsFunc(tags[:i], func(t []byte) bool { return string(t) == string(tags[i]) }) {
			out := slices.Clone(tags[:i])
			for _, t := range tags[i:] {
				if !slices.ContainsFunc(out, func(o []byte) bool { return string(o) == string(t) }) {
					out = append(out, t)
				}
			}
			return out
		}
	}
	return tags
}
