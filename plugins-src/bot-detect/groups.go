package main

import (
	"maps"
	"slices"
)

// groups are parts of known agents, in lower case, as their makers document them.
var groups = map[string][]string{
	// What looks for holes.
	"scanners": {
		"acunetix", "arachni", "brutus", "burpcollaborator", "cgichk", "commix", "dirbuster", "dirsearch", "feroxbuster", "ffuf", "fimap", "fuzz faster u fool",
		"gobuster", "grabber", "havij", "httprobe", "jaeles", "jorgee", "l9explore", "l9tcpid", "masscan", "metasploit", "nessus", "netsparker", "nikto", "nmap scripting engine",
		"nuclei", "openvas", "paros/", "qualys", "rustbuster", "skipfish", "sqlmap", "sqlninja", "sysscan", "vega/", "w3af", "webinspect", "webshag", "whatweb", "wfuzz", "wpscan",
		"xenu link sleuth", "xsser", "zaproxy", "zgrab", "zmeu",
	},
	// What gathers texts to train models, or to answer from.
	"ai": {
		"ai2bot", "amazonbot", "anthropic-ai", "applebot-extended", "bytespider", "ccbot/", "chatgpt-user", "claude-searchbot", "claude-user", "claude-web", "claudebot", "cohere-ai",
		"cohere-training-data-crawler", "diffbot", "duckassistbot", "facebookbot", "gptbot", "imagesiftbot", "meta-externalagent", "meta-externalfetcher", "mistralai-user",
		"oai-searchbot", "omgili", "pangubot", "perplexity-user", "perplexitybot", "petalbot", "timpibot", "youbot",
	},
	// What measures sites for others.
	"seo": {
		"ahrefsbot", "ahrefssiteaudit", "blexbot", "dataforseobot", "dotbot", "linkdexbot", "linkpadbot", "majestic", "mj12bot", "mojeekbot", "rogerbot", "screaming frog", "semrushbot",
		"seokicks", "serpstatbot", "seznambot", "siteauditbot", "sistrix", "spbot/",
	},
	// Programs and libraries, if they say no other name.
	"libraries": {
		"aiohttp/", "apache-httpclient", "axios/", "colly", "curl/", "fasthttp", "go-http-client", "guzzlehttp", "headlesschrome", "http_request2", "httpie/", "httpx/", "java/", "jakarta commons",
		"lwp-trivial", "libwww-perl", "mechanize", "node-fetch", "okhttp/", "phantomjs", "python-httpx", "python-requests", "python-urllib", "reqwest", "rest-client", "scrapy", "undici", "wget/", "winhttp",
	},
	// Search engines.
	"search": {
		"360spider", "applebot/", "baiduspider", "bingbot", "coccocbot", "duckduckbot", "exabot", "google-inspectiontool", "googlebot", "googleother", "msnbot", "qwantify", "slurp", "sogou",
		"yandexbot", "yeti/", "yisouspider",
	},
}

func groupNames() []string { return slices.Sorted(maps.Keys(groups)) }
