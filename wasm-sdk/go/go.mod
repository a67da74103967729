module penstock.dev/penstock/wasm-sdk/go

go 1.26.0
