-- Assesses every ask at one moment and, if none that is enforced refuses, charges them: all or none, in one step.
-- KEYS: one key for each ask. ARGV: 'c' to charge or 'p' to look only, then each ask's words as `script.rs` writes them.
-- Answer: 1 admitted or 0 refused, the moment in microseconds, then for each ask whether it fits and its cell before the
-- charge, as `script.rs` reads it; of a blocked key 2 and until when, in the room of the others.
-- Numbers are whole and below 2^53, where doubles are exact: moments in microseconds, and in a bucket nanoseconds apart.
local call, pcall, match, format = redis.call, redis.pcall, string.match, string.format
local KEYS, ARGV, tonumber = KEYS, ARGV, tonumber
local floor, fmod, min, max = math.floor, math.fmod, math.min, math.max
local write, p = ARGV[1] == 'c', 2
local cells, asks, denied, foreign = {}, {}, false, false
-- Until when which keys are blocked: an operator put that in place of a cell.
local blocked
local answer = {1, now}

local function ttl(till)
  return format('%.0f', max(1, math.ceil((till - now) / 1000)) + grace)
end

-- The text under a key. A log is of another algorithm, from before a reload; anything else is not ours.
local function text(key)
  local held = pcall('GET', key)
  if type(held) == 'string' then
    if match(held, '^[tkfcm]%d+ %d+ ?%d*$') then return held end
    local till = tonumber(match(held, '^b(%d+)$'))
    if not till then
      foreign = true
    elseif till > now then
      blocked = blocked or {}
      blocked[key] = till
    end
  elseif type(held) == 'table' and not match(call('LINDEX', key, 0), '^l%d+$') then
    foreign = true
  end
  return ''
end

for i = 1, #KEYS do
  local key, kind, enforce, cost = KEYS[i], ARGV[p], ARGV[p + 1] == '1', tonumber(ARGV[p + 2])
  local count, window = tonumber(ARGV[p + 3]), tonumber(ARGV[p + 4])
  local cell, new, fits = cells[key], false, false
  local ask = {key = key, cost = cost, cost_ns = 0, window = window}
  local said = #answer + 1
  if not cell or cell.kind ~= kind then
    cell, new = {kind = kind, taken = 0, taken_ns = 0, add = 0, dirty = false}, true
    cells[key] = cell
  end
  p = p + 5
  if kind == 't' or kind == 'k' then
    -- A bucket: `count` is its depth in time, and costs are times.
    ask.cost_ns = tonumber(ARGV[p])
    local top, top_ns = now + count, tonumber(ARGV[p + 1])
    p = p + 2
    if new then
      local full, ns, since = match(text(key), '^' .. kind .. '(%d+) (%d+) (%d+)$')
      cell.full, cell.ns, cell.since = tonumber(full or 0), tonumber(ns or 0), tonumber(since or 0)
    end
    local limit = top + window
    if cell.full > limit or (cell.full == limit and cell.ns > top_ns) then
      cell.full, cell.ns, cell.dirty = top, top_ns, true
    end
    if cell.full < now then cell.full, cell.ns = now, 0 end
    local ns = cell.ns + cell.taken_ns + ask.cost_ns
    local full = cell.full + cell.taken + cost + floor(ns / 1000)
    fits = full < top or (full == top and fmod(ns, 1000) <= top_ns)
    answer[#answer + 1] = fits and 1 or 0
    answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = cell.full, cell.ns, cell.since
    cell.taken_ns = cell.taken_ns + ask.cost_ns
  elseif kind == 'l' then
    if new then
      cell.len, cell.seen = 0, 0
      local head = pcall('LINDEX', key, 0)
      if type(head) == 'string' then
        cell.seen = tonumber(match(head, '^l(%d+)$') or 0)
        cell.held, cell.len = true, call('LLEN', key) - 1
        foreign = foreign or cell.seen == 0
      elseif type(head) == 'table' then
        text(key)
        cell.other = true
      end
      -- Another server's clock was a little ahead; or this one was set back, and what it saw then counts as of now.
      cell.at = (cell.seen > now and cell.seen - now <= window) and cell.seen or now
      cell.dirty = cell.seen > now + window
      local function moment(at)
        return min(tonumber(call('LINDEX', key, at)) or 0, cell.at)
      end
      local gone, last = 0, cell.len
      if last > 0 and not foreign and moment(1) + window <= cell.at then
        gone = 1
        while gone < last do
          local middle = floor((gone + last + 1) / 2)
          if moment(middle) + window <= cell.at then gone = middle else last = middle - 1 end
        end
      end
      cell.gone = max(gone, cell.len - count)
      cell.used = cell.len - cell.gone
      cell.newest = (cell.used > 0 and not foreign) and moment(cell.len) or 0
      cell.moment = moment
    end
    local over = cell.used + cell.taken + cost - count
    fits = over <= 0
    local leaver = 0
    if not fits and cell.used > 0 and not foreign then leaver = cell.moment(min(cell.gone + over, cell.len)) end
    answer[#answer + 1] = fits and 1 or 0
    answer[#answer + 1], answer[#answer + 2] = cell.at, cell.used
    answer[#answer + 1], answer[#answer + 2] = cell.newest, leaver
  elseif kind == 'm' then
    -- A calendar: `window` is the longest period, and three periods follow that should be around the present.
    if new then
      local start, till, used = match(text(key), '^m(%d+) (%d+) (%d+)$')
      cell.start, cell.till, cell.used = tonumber(start or 0), tonumber(till or 0), tonumber(used or 0)
      if not (cell.start <= now and now < cell.till and cell.till - cell.start <= window) then
        local at = p
        while at < p + 3 and tonumber(ARGV[at + 1]) <= now do at = at + 1 end
        local start, till = tonumber(ARGV[at]), tonumber(ARGV[at + 1] or 0)
        if at == p + 3 or now < start then return redis.error_reply('CLOCK ' .. format('%.0f', now)) end
        if cell.start ~= till then
          if start >= cell.till then cell.used = 0 else cell.dirty = true end
          cell.start, cell.till = start, till
        end
      end
    end
    p = p + 4
    fits = cell.used + cell.taken + cost <= count
    answer[#answer + 1] = fits and 1 or 0
    answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = cell.start, cell.till, cell.used
  else
    -- Aligned windows: one count, or that of the window before too.
    if new then
      local start, used, before = match(text(key), '^' .. kind .. '(%d+) (%d+) ?(%d*)$')
      cell.start, cell.used, cell.before = tonumber(start or 0), tonumber(used or 0), tonumber(before or 0) or 0
      if cell.start <= now or cell.start - now > window then
        local start = now - fmod(now, window)
        if kind == 'f' then
          if start > cell.start then cell.used = 0 end
        elseif start > cell.start then
          cell.before = start - cell.start == window and cell.used or 0
          cell.used = 0
        elseif start < cell.start then
          cell.used, cell.before = min(cell.used + cell.before, count), 0
        end
        cell.dirty = start < cell.start
        cell.start = start
      end
    end
    local room = count - cell.used - cell.taken - cost
    local elapsed = max(now - cell.start, 0)
    fits = room >= 0 and (cell.before == 0 or weighs(cell.before, window - elapsed, room, window))
    answer[#answer + 1] = fits and 1 or 0
    answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = cell.start, cell.used, cell.before
  end
  if blocked and blocked[key] then
    fits, answer[said], answer[said + 1], cell.dirty = false, 2, blocked[key], false
  end
  cell.taken = cell.taken + cost
  denied = denied or (enforce and not fits)
  ask.cell, ask.charged = cell, fits and (cost > 0 or ask.cost_ns > 0)
  asks[i] = ask
end

if foreign then return redis.error_reply('FOREIGN a text or list that no limit wrote') end
if denied then answer[1] = 0 end
if not write then return answer end

for i = 1, #asks do
  local ask = asks[i]
  local cell = ask.cell
  if ask.charged and not denied then
    cell.dirty = true
    if cell.full then
      local lacks = cell.full > now or cell.ns > 0
      cell.since = lacks and min(cell.since, now) or now
      local ns = cell.ns + ask.cost_ns
      cell.full, cell.ns = cell.full + ask.cost + floor(ns / 1000), fmod(ns, 1000)
    else
      cell.add = cell.add + ask.cost
    end
  end
end

for i = 1, #asks do
  local key, cell, window = asks[i].key, asks[i].cell, asks[i].window
  -- What was set back with a clock is written even if nothing is charged, or it would be locked until that time comes.
  if cell.dirty then
    cell.dirty = false
    if cell.full then
      call('SET', key, format('%s%.0f %.0f %.0f', cell.kind, cell.full, cell.ns, cell.since), 'PX', ttl(cell.full + 1))
    elseif cell.kind == 'c' then
      local value = format('c%.0f %.0f %.0f', cell.start, cell.used + cell.add, cell.before)
      call('SET', key, value, 'PX', ttl(cell.start + 2 * window))
    elseif cell.kind == 'f' then
      call('SET', key, format('f%.0f %.0f', cell.start, cell.used + cell.add), 'PX', ttl(cell.start + window))
    elseif cell.kind == 'm' then
      call('SET', key, format('m%.0f %.0f %.0f', cell.start, cell.till, cell.used + cell.add), 'PX', ttl(cell.till))
    else
      local at = format('%.0f', cell.at)
      if cell.other then call('DEL', key) end
      if cell.seen > now + window then
        for j = cell.len, cell.gone + 1, -1 do
          if tonumber(call('LINDEX', key, j)) <= now then break end
          call('LSET', key, j, at)
        end
      end
      if cell.held and cell.gone == 0 then
        call('LSET', key, 0, 'l' .. at)
      else
        if cell.held then call('LTRIM', key, cell.gone + 1, -1) end
        call('LPUSH', key, 'l' .. at)
      end
      local left = cell.add
      while left > 0 do
        local some = {}
        for j = 1, min(left, 200) do some[j] = at end
        call('RPUSH', key, unpack(some))
        left = left - #some
      end
      call('PEXPIRE', key, ttl((cell.add > 0 and cell.at or cell.newest) + window))
    end
  end
end
return answer
