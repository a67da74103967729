package readme

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// curl is what a command line of curl's asks for.
type curl struct {
	url     *url.URL
	method  string
	fields  [][2]string
	body    string
	include bool // the response's head is shown
	// ca, cert and key are the files of who vouches for the server, and of the client's own.
	ca, cert, key string
}

// parseCurl reads the few options that the examples use.
func parseCurl(words []string) (*curl, error) {
	if len(words) == 0 || words[0] != "curl" {
		return nil, errors.New("want curl")
	}
	c := &curl{fields: [][2]string{{"User-Agent", "curl/8.14.1"}, {"Accept", "*/*"}}}
	var address string
	for i := 1; i < len(words); i++ {
		option := words[i]
		argument := func() (string, error) {
			if i++; i == len(words) {
				return "", fmt.Errorf("%s has no argument", option)
			}
			return words[i], nil
		}
		var value string
		var err error
		switch option {
		case "-s", "-sS", "--silent", "--http1.1": // which HTTPS has not by itself
		case "-i", "-si":
			c.include = true
		case "--cacert":
			c.ca, err = argument()
		case "--cert":
			c.cert, err = argument()
		case "--key":
			c.key, err = argument()
		case "-I":
			c.include, c.method = true, http.MethodHead
		case "-X":
			c.method, err = argument()
		case "-H":
			if value, err = argument(); err == nil {
				err = c.field(value)
			}
		case "-A":
			if value, err = argument(); err == nil {
				err = c.field("User-Agent: " + value)
			}
		case "-b":
			if value, err = argument(); err == nil {
				err = c.field("Cookie: " + value)
			}
		case "-d":
			if c.body, err = argument(); c.method == "" {
				c.method = http.MethodPost
			}
			c.fields = append(c.fields, [2]string{"Content-Type", "application/x-www-form-urlencoded"})
		default:
			if strings.HasPrefix(option, "-") || address != "" {
				return nil, fmt.Errorf("%s is not understood", option)
			}
			address = option
		}
		if err != nil {
			return nil, err
		}
	}
	if err := c.to(address, slices.Contains(words, "--http1.1")); err != nil {
		return nil, err
	}
	if c.method == "" {
		c.method = http.MethodGet
	}
	return c, nil
}

// to sets where it goes. curl would speak HTTP/2 with HTTPS, whose heads look otherwise.
func (c *curl) to(address string, http1 bool) (err error) {
	if c.url, err = url.Parse(address); err != nil || c.url.Scheme != "http" && c.url.Scheme != "https" || c.url.Host == "" {
		return fmt.Errorf("want an address http://... or https://..., not %q", address)
	}
	if (c.url.Scheme == "https") != http1 {
		return errors.New("want --http1.1 with https, and only there: the examples show HTTP/1.1")
	}
	return nil
}

// field adds a header field in the place of what curl sends by itself: "Name: value", or
// "Name:" for none.
func (c *curl) field(line string) error {
	name, value, ok := strings.Cut(line, ":")
	if !ok || name == "" {
		return fmt.Errorf("%q is no header field", line)
	}
	kept := c.fields[:0]
	for _, f := range c.fields {
		own := f[0] == "User-Agent" || f[0] == "Accept" || f[0] == "Content-Type"
		if !own || !strings.EqualFold(f[0], name) {
			kept = append(kept, f)
		}
	}
	c.fields = kept
	if value = strings.TrimSpace(value); value != "" {
		c.fields = append(c.fields, [2]string{name, value})
	}
	return nil
}

// split splits a command line into words as a shell does, without its variables.
func split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord, quote := false, rune(0)
	escaped := false
	for _, c := range line {
		switch {
		case escaped:
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			if quote == '"' && (c == '$' || c == '`') {
				return nil, fmt.Errorf("%c is not understood", c)
			}
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case c == ' ' || c == '\t':
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		case strings.ContainsRune("$`|&;<>(){}*?!#", c) && !(inWord && strings.ContainsRune("?#", c)):
			return nil, fmt.Errorf("%c is not understood", c)
		default:
			word.WriteRune(c)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, errors.New("a quote is not closed")
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
