-- Gives back what one receipt stands for, as far as the cell still holds it. KEYS: the key. ARGV: the receipt's words as
-- `script.rs` writes them. What has run out by itself is not given back twice.
local call, pcall, match, format, fmod = redis.call, redis.pcall, string.match, string.format, math.fmod
local key, kind, cost, at, window = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if kind == 'l' then
  local head = pcall('LINDEX', key, 0)
  if type(head) ~= 'string' or not match(head, '^l%d+$') then return 0 end
  return call('LREM', key, -cost, ARGV[3])
end
local held = pcall('GET', key)
if type(held) ~= 'string' or string.sub(held, 1, 1) ~= kind then return 0 end
local a, b, c = match(held, '^.(%d+) (%d+) ?(%d*)$')
a, b, c = tonumber(a), tonumber(b), tonumber(c)
if not a then return 0 end
if kind == 't' or kind == 'k' then
  local full, ns, since, cost_ns = a, b, c, tonumber(ARGV[5])
  local top, top_ns = now + tonumber(ARGV[6]), tonumber(ARGV[7])
  local limit = top + window
  if full > limit or (full == limit and ns > top_ns) then full, ns = top, top_ns end
  -- A bucket that was full since then has got the units back by itself; what it lacks now, others took.
  if at < since then return 0 end
  full, ns = full - cost, ns - cost_ns
  if ns < 0 then full, ns = full - 1, ns + 1000 end
  if full < now then return call('DEL', key) end
  local ttl = math.max(1, math.ceil((full + 1 - now) / 1000)) + grace
  call('SET', key, format('%s%.0f %.0f %.0f', kind, full, ns, since), 'PX', format('%.0f', ttl))
  return 1
end
local function less(held) return math.max(held - cost, 0) end
if kind == 'm' then
  if at < a or at >= b then return 0 end
  call('SET', key, format('m%.0f %.0f %.0f', a, b, less(c)), 'KEEPTTL')
  return 1
end
local start = at - fmod(at, window)
if start == a then
  b = less(b)
elseif kind == 'c' and start + window == a then
  c = less(c)
else
  return 0
end
call('SET', key, kind == 'f' and format('f%.0f %.0f', a, b) or format('c%.0f %.0f %.0f', a, b, c), 'KEEPTTL')
return 1
