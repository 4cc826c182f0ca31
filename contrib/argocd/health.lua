-- Argo CD's health check for ADDomain, SyncedUser and SyncedGroup: the conditions as kstatus reads them.
-- Healthy: Ready for the newest spec. Degraded: Stalled, somebody has to do something. Suspended: held on purpose. Else Progressing.
local hs = { status = "Progressing", message = "Waiting for adsync" }
if obj.metadata.deletionTimestamp ~= nil then
  hs.message = "Being deleted: waiting for the directory to confirm it"
  return hs
end
local status = obj.status
if status == nil or status.conditions == nil then
  return hs
end
local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end
local ready, stalled = conditions.Ready, conditions.Stalled
if ready == nil then
  return hs
end
local seen = status.observedGeneration or ready.observedGeneration
if seen ~= nil and obj.metadata.generation ~= nil and seen < obj.metadata.generation then
  hs.message = "The newest change has not been looked at yet"
  return hs
end
hs.message = (ready.reason or "") .. ": " .. (ready.message or "")
if ready.status == "True" then
  hs.status = "Healthy"
elseif ready.reason == "Paused" or ready.reason == "Observing" or ready.reason == "SafetyLimit" then
  hs.status = "Suspended"
elseif stalled ~= nil and stalled.status == "True" then
  hs.status = "Degraded"
end
return hs
