// Writes all tests of the suite as JSON: id, kind and what each depends on. To be run in
// the suite's folder.
import { pathToFileURL } from 'node:url'

const load = async name => (await import(pathToFileURL(`${process.cwd()}/tests/${name}.mjs`))).default
const suites = [...await load('index'), await load('surrogate-control')]
const all = suites.flatMap(suite => suite.tests.map(test => ({
  id: test.id,
  suite: suite.id,
  name: test.name,
  kind: test.kind || 'required',
  depends: test.depends_on || [],
  browser: test.browser_only === true
})))
console.log(JSON.stringify(all))
