-- One machine's question about rates that many machines keep together: ports/cache.py says what it means,
-- docs/decisions/0053-rates-of-many-machines.md why it holds, adapters/memory/cache.py is the same in Python.
--
-- KEYS[1]: one hash with everything, so that Redis forgets all of it or nothing.  Its fields:
--   epoch    {run id of this Redis, name, since when, latest instant seen, machines awaited,
--            since when without a gap, somebody told what is remembered}
--   members  machine -> {its latest ask, when that came, last heard of as one that is not away}
--   apart    unit -> {until when, how many} machines may have let go their own shares
--   workers  live machine -> {when somebody first said so, and last}; counts: their number -> when last said
--   w:NAME   what was granted of a rate: at, count, begin of the pair's slot; and again, oldest first
--   d:NAME   of a day: {day, machine -> what it has}
-- KEYS[2]: when fields w: and d: may go.  ARGV: the ask, grace in ms, permits' part of a unit.
local machine, seq, workers, units, day, latest, away, tells, wants, recall, alive = unpack(cmsgpack.unpack(ARGV[1]))
local GRACE, AHEAD, DAY, SLOTS, SET_BACK = tonumber(ARGV[2]), tonumber(ARGV[3]), 86400000, 128, 1000
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')

local function read(field)
  local packed = redis.call('HGET', KEYS[1], field)
  return packed and cmsgpack.unpack(packed)
end

local function write(field, value, lapses)
  redis.call('HSET', KEYS[1], field, cmsgpack.pack(value))
  if lapses then redis.call('ZADD', KEYS[2], lapses, field) end
end

-- the epoch: another Redis, a clock that was set, or nothing there
local epoch = read('epoch')
if not epoch or epoch[1] ~= run or now < epoch[4] - SET_BACK or latest < 0 then
  redis.call('UNLINK', KEYS[1], KEYS[2])
  epoch = {run, run .. ':' .. now .. ':' .. machine .. ':' .. seq, now, now, {}, now, false}
end
now = math.max(now, epoch[4])
if now - epoch[4] >= GRACE / 2 then epoch[6] = now end
epoch[4] = now
local young = now - epoch[3] < GRACE

-- who asks
local members = read('members') or {}
local me = members[machine]
if (latest > 0 and now > latest) or (me and seq <= me[1]) then
  return cmsgpack.pack({epoch[2], now, true, {}, {}, {}})
end
local said = read('workers') or {}
for _, name in ipairs(workers) do said[name] = {said[name] and said[name][1] or now - epoch[6] < GRACE and 0 or now, now} end
for name, one in pairs(said) do if now - one[2] > 2 * DAY then said[name] = nil end end
write('workers', said)

local counts = read('counts') or {}
counts[tostring(#workers)] = now
write('counts', counts)

local function least_workers(within)
  local least = #workers
  for number, at in pairs(counts) do if now - at < within then least = math.min(least, number) end end
  return math.max(least, 1)
end

-- who may have been on its own until now, before this ask changes what is known
local apart = read('apart') or {}
for _, unit in ipairs(units) do apart[tostring(unit)] = apart[tostring(unit)] or {0, 0} end
for unit, one in pairs(apart) do
  local span = unit + math.floor(unit / AHEAD) + 1
  local silent, missing = now - span - GRACE, 0
  for name, known in pairs(said) do
    if known[1] <= silent and known[2] > silent and (not members[name] or members[name][3] <= silent) then
      missing = missing + 1
    end
  end
  if missing > 0 then
    apart[unit] = {now + span, now < one[1] and math.max(missing, one[2]) or missing}
  end
end
write('apart', apart)

members[machine] = {seq, now, away and (me and me[3] or 0) or now}
local here = {}
for name, member in pairs(members) do
  if now - math.max(member[2], member[3]) > 2 * DAY then members[name] = nil
  elseif now - member[3] < GRACE then here[#here + 1] = name end
end
write('members', members)

-- what is remembered of an epoch before
local today = math.floor(now / DAY)
if tells and day == today then
  epoch[7] = true
  if young then
    for _, name in ipairs(alive) do epoch[5][name] = today end
  end
  for _, one in ipairs(recall) do
    local field = 'd:' .. one[1]
    local known = read(field)
    if not known or known[1] ~= today then known = {today, {}} end
    known[2][one[2]] = math.max(known[2][one[2]] or 0, one[3])
    write(field, known, now + 2 * DAY)
  end
end
for name, on in pairs(epoch[5]) do if members[name] or on ~= today then epoch[5][name] = nil end end
write('epoch', epoch)

-- how much of a rate machines out of reach may be letting go
local function reserved(limit, unit, span)
  local one, missing = apart[tostring(unit)] or {now + 1, #workers}, 0
  for _, name in ipairs(workers) do
    if not members[name] or now - members[name][3] >= GRACE then missing = missing + 1 end
  end
  return math.floor(limit / least_workers(span + GRACE)) * math.max(missing, now < one[1] and one[2] or 0)
end

local function of_rate(name, limit, unit, count)
  local span = unit + math.floor(unit / AHEAD) + 1
  if now - epoch[3] < span then return {0, epoch[3] + span - now, 0} end
  local log, kept, used = read('w:' .. name) or {}, {}, 0
  for i = 1, #log, 3 do
    if log[i] + span > now then
      kept[#kept + 1], kept[#kept + 2], kept[#kept + 3] = log[i], log[i + 1], log[i + 2]
      used = used + log[i + 1]
    end
  end
  local away = reserved(limit, unit, span)
  local granted = math.max(math.min(count, limit - away - used), 0)
  if granted > 0 then
    if #kept > 0 and now - kept[#kept] < unit / SLOTS then
      kept[#kept - 2], kept[#kept - 1] = now, kept[#kept - 1] + granted
    else
      kept[#kept + 1], kept[#kept + 2], kept[#kept + 3] = now, granted, now
    end
    write('w:' .. name, kept, now + span)
  end
  local wait = (kept[1] or now) + span - now
  if away > 0 then wait = math.min(wait, 1000) end
  return {granted, granted < count and wait or 0, 0}
end

local days = {}
local function of_day(name, limit, count, mine)
  local known = read('d:' .. name)
  if not known or known[1] ~= today then known = {today, {}} end
  local has, others = known[2], 0
  for other, number in pairs(has) do if other ~= machine then others = others + number end end
  local granted = math.max(math.min(count, limit - others - mine), 0)
  if young or not epoch[7] or next(epoch[5]) then granted = 0 end
  has[machine] = mine + granted
  write('d:' .. name, known, now + 2 * DAY)
  local pairs_of = {}
  for other, number in pairs(has) do pairs_of[#pairs_of + 1] = {other, number} end
  days[#days + 1] = {name, pairs_of}
  return {granted, granted < count and 1000 or 0, others}
end

local grants = {}
for i, want in ipairs(wants) do
  local name, limit, unit, count, mine = unpack(want)
  if unit > 0 then grants[i] = of_rate(name, limit, unit, count)
  else grants[i] = of_day(name, limit, count, day == today and mine or 0) end
end

for _, field in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 16)) do
  redis.call('HDEL', KEYS[1], field)
  redis.call('ZREM', KEYS[2], field)
end
return cmsgpack.pack({epoch[2], now, false, grants, here, days})
