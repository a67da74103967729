// Package ratelimit counts events for plugins: on this proxy, or in Redis for all
// proxies.
//
// A token bucket is kept as one time, that at which it will be full (the generic cell
// rate algorithm); a sliding window as the counts of two windows. What is as if nothing
// had ever been counted is forgotten. There is room for so many keys in all and of one
// namespace; beyond it those go that would be forgotten soonest.
//
// In Redis one script counts. Events of one key that come while it is asked wait, and are
// asked for together: so no more than one question for a key is under way on a proxy,
// nothing is counted twice, and no event passes that Redis has not counted. A key that is
// exhausted is not asked for again until an event would be allowed.
package ratelimit
