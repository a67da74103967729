package h1

// reason returns the reason phrase of a registered status, empty for others.
func reason(status int) string {
	if status < 300 {
		return reason2(status)
	}
	if status < 500 {
		return reason4(status)
	}
	switch status {
	case 500:
		return "Internal Server Error"
	case 501:
		return "Not Implemented"
	case 502:
		return "Bad Gateway"
	case 503:
		return "Service Unavailable"
	case 504:
		return "Gateway Timeout"
	case 505:
		return "HTTP Version Not Supported"
	case 507:
		return "Insufficient Storage"
	case 508:
		return "Loop Detected"
	case 511:
		return "Network Authentication Required"
	}
	return ""
}

func reason2(status int) string {
	switch status {
	case 100:
		return "Continue"
	case 102:
		return "Processing"
	case 103:
		return "Early Hints"
	case 200:
		return "OK"
	case 201:
		return "Created"
	case 202:
		return "Accepted"
	case 203:
		return "Non-Authoritative Information"
	case 204:
		return "No Content"
	case 205:
		return "Reset Content"
	case 206:
		return "Partial Content"
	case 207:
		return "Multi-Status"
	case 208:
		return "Already Reported"
	case 226:
		return "IM Used"
	}
	return ""
}

func reason4(status int) string {
	names := [...]string{
		400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
		405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required",
		408: "Request Timeout", 409: "Conflict", 410: "Gone", 411: "Length Required",
		412: "Precondition Failed", 413: "Content Too Large", 414: "URI Too Long",
		415: "Unsupported Media Type", 416: "Range Not Satisfiable", 417: "Expectation Failed",
		421: "Misdirected Request", 422: "Unprocessable Content", 423: "Locked", 424: "Failed Dependency",
		425: "Too Early", 426: "Upgrade Required", 428: "Precondition Required", 429: "Too Many Requests",
		431: "Request Header Fields Too Large", 451: "Unavailable For Legal Reasons",
		300: "Multiple Choices", 301: "Moved Permanently", 302: "Found", 303: "See Other",
		304: "Not Modified", 305: "Use Proxy", 307: "Temporary Redirect", 308: "Permanent Redirect",
	}
	if status < len(names) {
		return names[status]
	}
	return ""
}
