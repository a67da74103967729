module penstock.dev/penstock/conformance/readme

go 1.26.0
