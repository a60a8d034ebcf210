-- Whether previous * rest <= room * window, with counts below 2^30 and times below 2^45, in two parts of 22 and more bits.
local function weighs(previous, rest, room, window)
  local function product(a, b)
    local high = math.floor(b / 4194304)
    local low = a * (b - high * 4194304)
    local carry = math.floor(low / 4194304)
    return a * high + carry, low - carry * 4194304
  end
  local a, a_low = product(previous, rest)
  local b, b_low = product(room, window)
  return a < b or (a == b and a_low <= b_low)
end

