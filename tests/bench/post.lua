-- wrk: a chat request. BENCH_KEY, if set, goes out as the API key.
wrk.method = "POST"
wrk.body = '{"model":"m","messages":[{"role":"user","content":"hello there, tell me a story about llamas"}],"temperature":0.7,"max_tokens":64}'
wrk.headers["Content-Type"] = "application/json"
local key = os.getenv("BENCH_KEY")
if key then wrk.headers["Authorization"] = "Bearer " .. key end
