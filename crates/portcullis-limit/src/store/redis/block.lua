-- Refuses a key for so many microseconds from now on, in place of its cell, and tells until when; or, for none, lifts that and
-- tells whether there was something to lift. KEYS: the key. ARGV: the microseconds.
local match, format = string.match, string.format
local key, micros = KEYS[1], tonumber(ARGV[1])
local held = redis.pcall('GET', key)
if micros == 0 then
  local till = type(held) == 'string' and tonumber(match(held, '^b(%d+)$'))
  return till and redis.call('DEL', key) == 1 and till > now and 1 or 0
end
-- What no limit wrote is not ours to overwrite.
local ours = not held
if type(held) == 'string' then
  ours = match(held, '^[tkfcmb]%d+')
elseif type(held) == 'table' then
  local head = redis.pcall('LINDEX', key, 0)
  ours = type(head) == 'string' and match(head, '^l%d+$')
end
if not ours then return redis.error_reply('FOREIGN a text or list that no limit wrote') end
local till = now + micros
redis.call('SET', key, format('b%.0f', till), 'PX', format('%.0f', math.ceil(micros / 1000) + grace))
return till
