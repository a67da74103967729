package meter

// class says who pays for a function, and who counts its frame.
type class byte

const (
	// guarded: it may run itself again through what it calls, and each way of a
	// function to itself leads through a guarded one. It pays on entry, with a check,
	// and its frame counts on the metered stack, with those that lead from it to
	// another guarded one.
	guarded class = iota
	// flat: it pays when it is left.
	flat
	// free: cheap, and called directly alone: whoever calls it pays for it, and it is
	// left as it is.
	free
)

const (
	// freeSteps is the most that a function may cost that its callers pay for, whole,
	// whatever it then does.
	freeSteps = 40
	// flatStack bounds the frames of functions that call each other and are not
	// guarded: so much may be in use, once, beyond what the metered stack says.
	flatStack = 4096
	// flatBetween bounds those that lead to a guarded function, which can be there
	// many times: they weigh with the guarded one before them. takenBetween is that
	// for what can be called by table, which weighs with all that call by table.
	flatBetween  = 512
	takenBetween = 128
	// maxDepth of calls that are looked at, maxListed calls in one function, and
	// maxEdges calls in all: a function beyond them is guarded.
	maxDepth  = 100
	maxListed = 64
	maxEdges  = 4 << 20
)

// shape is what the first look at a function found.
type shape struct {
	class   class
	state   state
	unknown bool // it calls by table, or more than can be listed
	again   bool // a way from it leads back to it
	aborts  bool // it is called, and a trap follows each time
	returns bool // it is called, and something else follows
	loops   bool // or operations whose cost is known when they run
	index   int  // among the defined functions
	static  int  // steps of its own code, each instruction once, and of its entry
	own     int  // and of the free functions that it calls
	total   int  // and of what else it calls that makes no check; loops make one
	stack   int  // what its frame weighs
	depth   int  // and the frames of what it calls, as far as they do not count themselves
	between int  // and only those that lead to a guarded function; 0: it calls none
	first   int  // of its callees in module.edges
	calls   int  // how many those are
}

// checks reports whether a function asks for more steps if there are none left:
// else many calls of it in a row could spend much that nobody has.
func (s *shape) checks() bool { return s.class == guarded || s.total > flushAt }

type state byte

const (
	unseen state = iota
	entered
	classified
)

// shapes looks at every function body once, and classifies them.
func (m *module) shapes(bodies [][]byte) error {
	m.shape = make([]shape, len(bodies))
	f := &function{m: m, looking: true}
	for i := range m.shape {
		m.shape[i].index = i
	}
	for i, code := range bodies {
		s := &m.shape[i]
		s.first = len(m.edges)
		if err := f.rewrite(code, i); err != nil {
			return err
		}
		s.calls = len(m.edges) - s.first
	}
	// What is called to end the guest is called once at most, and guards best the ways
	// that lead through it: what reports a failure can fail.
	for i := range m.shape {
		if s := &m.shape[i]; s.aborts && !s.returns {
			s.state = classified
		} else {
			s.aborts = false
		}
	}
	for i := range m.shape {
		m.classify(&m.shape[i], 0)
	}
	for i := range m.shape {
		if s := &m.shape[i]; m.taken[i] && s.class != guarded {
			m.takenBetween = max(m.takenBetween, s.between)
		}
	}
	return nil
}

// classify fills in class, own, total and depth.
func (m *module) classify(s *shape, depth int) {
	if s.state == entered {
		s.again = true // s.class is guarded until it is known, and then
	}
	if s.state != unseen {
		return
	}
	s.state, s.own, s.total = entered, s.static, s.static
	leads := false
	if depth > maxDepth { // what is not looked at may lead back
		s.unknown = true
	} else {
		for _, callee := range m.edges[s.first : s.first+s.calls] {
			m.classify(&m.shape[callee], depth+1)
			c := &m.shape[callee]
			if c.class == free {
				s.own = min(s.own+c.own, flushAt+1)
			}
			if !c.checks() {
				s.total = min(s.total+c.total, flushAt+1)
			}
			switch {
			case c.aborts: // its frame weighs for those that lead to it
			case c.class == guarded:
				leads = true
			default:
				s.depth = max(s.depth, c.depth)
				s.between = max(s.between, c.between)
				leads = leads || c.between > 0
			}
		}
	}
	s.depth += s.stack
	if leads {
		s.between += s.stack
	}
	s.state = classified
	switch taken := m.taken[s.index]; {
	case s.unknown || s.again || s.depth > flatStack || s.between > flatBetween || taken && s.between > takenBetween:
		s.class = guarded
	case !taken && !s.loops && s.own <= freeSteps && s.total <= flushAt:
		s.class = free
	default:
		s.class = flat
	}
}

// shapeOf returns the shape of a function by its new index; nil: it is imported.
// What is imported does not lead back: a function that runs is not called from
// outside.
func (m *module) shapeOf(shifted uint32) *shape {
	if int(shifted) < m.imported+2 {
		return nil
	}
	return &m.shape[int(shifted)-m.imported-2]
}

// take notes that something but a direct call can call a function.
func (m *module) take(index uint32) {
	if i := int(index) - m.imported; i >= 0 && i < len(m.taken) {
		m.taken[i] = true
	}
}

// calls notes a call of a defined function; false: there are too many.
func (m *module) calls(s, callee *shape) bool {
	if len(m.edges)-s.first >= maxListed || len(m.edges) >= maxEdges {
		return false
	}
	m.edges = append(m.edges, uint32(callee.index))
	return true
}
