package main

import "strings"

// Device classes, by their index in classes.
const (
	desktop = iota
	mobile
	tablet
)

var classes = [...]string{desktop: "desktop", mobile: "mobile", tablet: "tablet"}

const (
	// devicePart begins the key part of a class.
	devicePart = "device="
	// deviceHeader tells the origin; what clients send in it is taken away.
	deviceHeader = "x-device-class"
	// maxAgent is how much of a User-Agent is looked at, in bytes.
	maxAgent = 512
)

// agents remembers what User-Agents say, for there are few: looking through one for a
// dozen of words costs more than the rest of a rule. At maxAgents all are forgotten.
type agents map[string]said

const maxAgents = 256

// said is what a User-Agent says.
type said struct{ tablet, mobile bool }

// device tells the class from User-Agent and Sec-CH-UA-Mobile. Browsers on tablets say ?0
// there as those on desktops do, so that the User-Agent comes first for them.
func (a agents) device(agent, hint string) int {
	agent = agent[:min(len(agent), maxAgent)]
	s, known := a[agent]
	if !known {
		if len(a) >= maxAgents {
			clear(a)
		}
		s = wordsOf(agent)
		a[strings.Clone(agent)] = s
	}
	switch {
	case s.tablet:
		return tablet
	case strings.TrimSpace(hint) == "?1":
		return mobile
	case strings.TrimSpace(hint) == "?0" || !s.mobile:
		return desktop
	}
	return mobile
}

// wordsOf looks for the words that tell.
func wordsOf(agent string) said {
	agent = strings.ToLower(agent)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(agent, w) {
				return true
			}
		}
		return false
	}
	return said{
		tablet: has("ipad", "tablet", "kindle", "silk/", "playbook") || has("android") && !has("mobile"),
		mobile: has("mobi", "iphone", "ipod", "windows phone", "opera mini"),
	}
}
