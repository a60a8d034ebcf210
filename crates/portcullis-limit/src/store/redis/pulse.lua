-- Tells the mark by which a store knows itself, and makes another where it may have lost what it acknowledged.
-- KEYS: the mark's. ARGV: the name of a new mark, the mark that the asker knows or nothing, and whether this server alone
-- is the store (1) or one of a cluster's (0). Answer: the mark and the moment in microseconds.
-- A mark is `<name> <since> <lost> <run>`: since when it stands, when a loss was found (0: never, -: an operator says that
-- there was none), and the run of the server that it was made in. It is written each time, so that a server that has become a
-- replica says so.
local key, name, known = KEYS[1], ARGV[1], ARGV[2]
local run = ARGV[3] == '1' and string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or '-'
local held = redis.call('GET', key)
local said, since, lost, of = string.match(held or '', '^(%x+) (%d+) ([%d-]+) (%S+)$')
local moment = string.format('%.0f', now)
if held == 'open' then
  said, since, lost = name, '0', '-'
elseif not said then
  -- All is gone. Who has known another mark knows that there was something to lose.
  said, since, lost = name, moment, known ~= '' and moment or '0'
elseif of ~= run then
  -- Restarted, or a replica that took over: it may not have had everything.
  said, since, lost = name, moment, moment
elseif lost == '0' and known ~= '' and string.match(known, '^%x+') ~= said then
  -- Made by one who came after the loss and could not know of it.
  lost = since
end
local mark = said .. ' ' .. since .. ' ' .. lost .. ' ' .. run
redis.call('SET', key, mark, 'PX', 86400000)
return {mark, moment}
