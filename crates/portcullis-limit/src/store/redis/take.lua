-- What begins a charge that is made only while the store is what it was: the mark is the last key, and the first word says
-- what it has to be. In one step with the charge, so that nothing can be lost in between.
local mark, expected = table.remove(KEYS), table.remove(ARGV, 1)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if redis.call('GET', mark) ~= expected or string.match(expected, '%S+$') ~= run then
  return redis.error_reply('CHANGED the store is not what it was')
end
