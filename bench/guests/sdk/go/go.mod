module penstock.dev/penstock/bench/guests/sdk/go

go 1.26.0

require penstock.dev/penstock/wasm-sdk/go v0.0.0

replace penstock.dev/penstock/wasm-sdk/go => ../../../../wasm-sdk/go
