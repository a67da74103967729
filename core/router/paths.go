package router

import (
	"maps"
	"slices"
)

// maxFew is how many paths are looked through one by one.
const maxFew = 4

// paths are lists of candidates by path. Most hostnames have one path or two, for which a
// map would be ten times as large.
type paths[T any] struct {
	few  []pathList[T]
	many map[string][]candidate[T] // in place of few
}

// place is where the candidates of a path are.
type place[T any] struct {
	table *paths[T]
	key   string
}

type pathList[T any] struct {
	path string
	list []candidate[T]
}

// of returns the candidates of a path.
func (p *paths[T]) of(path []byte) []candidate[T] {
	if p.many != nil {
		return p.many[string(path)]
	}
	for i := range p.few {
		if p.few[i].path == string(path) {
			return p.few[i].list
		}
	}
	return nil
}

func (p *paths[T]) empty() bool { return len(p.few) == 0 && len(p.many) == 0 }

// clone returns paths that may be changed; the lists are shared.
func (p *paths[T]) clone() paths[T] {
	return paths[T]{few: slices.Clone(p.few), many: maps.Clone(p.many)}
}

// put makes a list, which is not changed any more, that of a path; an empty one is none.
func (p *paths[T]) put(path string, list []candidate[T]) {
	switch i := slices.IndexFunc(p.few, func(l pathList[T]) bool { return l.path == path }); {
	case p.many != nil && len(list) == 0:
		delete(p.many, path)
	case p.many != nil:
		p.many[path] = list
	case i >= 0 && len(list) == 0:
		p.few = slices.Delete(p.few, i, i+1)
	case i >= 0:
		p.few[i].list = list
	case len(list) == 0:
	case len(p.few) < maxFew:
		p.few = append(p.few, pathList[T]{path, list})
	default:
		p.many = map[string][]candidate[T]{path: list}
		for _, l := range p.few {
			p.many[l.path] = l.list
		}
		p.few = nil
	}
}
