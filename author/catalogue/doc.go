// Package catalogue writes what the documents say of the bundled plugins: the table of the
// configuration in each README, and the page of all plugins.
package catalogue
