package catalogue

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Guide is the README of an SDK.
type Guide struct {
	Language string // for people
	Folder   string // of the README, from the repository's root
	Text     string
}

// TaskFolder is where Tasks' pages stand, from the repository's root.
const TaskFolder = "docs/tasks"

// Tasks returns a page for each section that all SDKs' READMEs have, with what each of
// them says there, and README.md, which lists them; by file name in TaskFolder. It is an
// error if there is no such section.
func Tasks(guides []Guide) (map[string]string, error) {
	var titles []string
	sections := make([]map[string]string, len(guides))
	for i, g := range guides {
		in, order := sectionsOf(g.Text)
		sections[i] = in
		if i == 0 {
			titles = order
		}
		titles = slices.DeleteFunc(titles, func(title string) bool { return in[title] == "" })
	}
	if len(titles) == 0 {
		return nil, fmt.Errorf("the SDKs' READMEs have no section in common")
	}
	pages := map[string]string{}
	var list strings.Builder
	list.WriteString("# Tasks of a plugin, in four languages\n\nMade of the SDKs' READMEs by `make catalogue`.\nWhat is shown builds: tests compile it.\n\n")
	for _, title := range titles {
		var page strings.Builder
		fmt.Fprintf(&page, "# %s\n\nMade of the SDKs' READMEs by `make catalogue`. [All tasks](README.md).\n", title)
		for i, g := range guides {
			fmt.Fprintf(&page, "\n## %s\n%s", g.Language, moveLinks(sections[i][title], g.Folder))
		}
		name := slug(title) + ".md"
		pages[name] = page.String()
		fmt.Fprintf(&list, "- [%s](%s)\n", title, name)
	}
	pages["README.md"] = list.String()
	return pages, nil
}

// sectionsOf returns the sections of the second level by title, each with an empty line at
// its end removed, and the titles in their order.
func sectionsOf(text string) (sections map[string]string, order []string) {
	sections = map[string]string{}
	title, code := "", false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		if next, ok := strings.CutPrefix(line, "## "); ok && !code {
			title = strings.TrimSpace(next)
			order = append(order, title)
			continue
		}
		sections[title] += line
	}
	for title, body := range sections {
		sections[title] = strings.TrimRight(body, "\n") + "\n"
	}
	return sections, order
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// moveLinks makes the relative links of a text in a folder links from TaskFolder.
func moveLinks(text, folder string) string {
	return link.ReplaceAllStringFunc(text, func(found string) string {
		to := link.FindStringSubmatch(found)[1]
		if strings.Contains(to, "://") {
			return found
		}
		file, fragment, hasFragment := strings.Cut(to, "#")
		moved := "../../" + path.Join(folder, file)
		if file == "" {
			moved = "../../" + path.Join(folder, "README.md")
		}
		if rest, ok := strings.CutPrefix(moved, "../../docs/"); ok {
			moved = "../" + rest
		}
		if hasFragment {
			moved += "#" + fragment
		}
		return "](" + moved + ")"
	})
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

func slug(title string) string {
	return strings.Trim(notInNames.ReplaceAllString(strings.ToLower(title), "-"), "-")
}
