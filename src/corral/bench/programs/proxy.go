// A reverse proxy from Go's standard library that reads the body for its model, as Go gateways do: the peer to beat.
package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

func main() {
	target, _ := url.Parse("http://" + os.Args[2])
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 1000, 1000
	proxy.Transport = transport
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var fields struct{ Model string }
		if json.Unmarshal(body, &fields) != nil || fields.Model == "" {
			http.Error(w, "no model", 400)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	})
	panic(http.ListenAndServe(os.Args[1], nil))
}
