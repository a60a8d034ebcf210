-- Gives units back that nobody holds a receipt for, the latest first, until nothing lacks. KEYS: the key. ARGV: the words as
-- `script.rs` writes them. What is not a cell of this algorithm, and so a block too, stays as it is.
local call, pcall, match, format, fmod = redis.call, redis.pcall, string.match, string.format, math.fmod
local min, max, floor = math.min, math.max, math.floor
local key, kind, units, count, window = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if kind == 'l' then
  local head = pcall('LINDEX', key, 0)
  if type(head) ~= 'string' or not match(head, '^l%d+$') then return 0 end
  local len = call('LLEN', key) - 1
  -- A reload may have made the quota smaller: what is beyond it counts for nothing.
  call('LTRIM', key, 0, -1 - min(units + max(len - count, 0), len))
  return 1
end
local held = pcall('GET', key)
if type(held) ~= 'string' then return 0 end
local a, b, c = match(held, '^' .. kind .. '(%d+) (%d+) ?(%d*)$')
a, b, c = tonumber(a), tonumber(b), tonumber(c)
if not a then return 0 end
local function set(value, till)
  call('SET', key, value, 'PX', format('%.0f', max(1, math.ceil((till - now) / 1000)) + grace))
  return 1
end
if kind == 't' or kind == 'k' then
  local full, ns, top, top_ns = a, b, now + count, tonumber(ARGV[6])
  local limit = top + window
  if full > limit or (full == limit and ns > top_ns) then full, ns = top, top_ns end
  full, ns = full - units, ns - tonumber(ARGV[5])
  if ns < 0 then full, ns = full - 1, ns + 1000 end
  if full < now then return call('DEL', key) end
  return set(format('%s%.0f %.0f %.0f', kind, full, ns, c), full + 1)
elseif kind == 'm' then
  call('SET', key, format('m%.0f %.0f %.0f', a, b, max(c - units, 0)), 'KEEPTTL')
  return 1
elseif kind == 'f' then
  call('SET', key, format('f%.0f %.0f', a, max(b - units, 0)), 'KEEPTTL')
  return 1
end
-- The counter, brought up to the present as a charge does.
if a <= now or a - now > window then
  local start = now - fmod(now, window)
  if start > a then
    b, c = 0, start - a == window and b or 0
  elseif start < a then
    b, c = min(b + c, count), 0
  end
  a = start
end
local rest, left = window - max(now - a, 0), max(units - b, 0)
-- The smallest number up to `top` for which it is so; of a few dozen steps at most.
local function smallest(top, is_so)
  local low = 0
  while low < top do
    local middle = floor((low + top) / 2)
    if is_so(middle) then top = middle else low = middle + 1 end
  end
  return low
end
if left > 0 then
  local room = max(smallest(c, function(n) return weighs(c, rest, n, window) end) - left, 0)
  -- The most that weighs so many units less, not so many requests less: they weigh only a part each.
  c = smallest(c, function(n) return n == c or not weighs(n + 1, rest, room, window) end)
end
return set(format('c%.0f %.0f %.0f', a, max(b - units, 0), c), a + 2 * window)
