-- Ends what a server still holds once it has been taken out, so that it is asked again elsewhere (see haproxy.cfg).
--
-- "on-marked-down shutdown-sessions" does that too early: it also ends requests whose connection is still being made,
-- and HAProxy has nothing of those yet that it could send again. So first they get the time to be tried elsewhere.
-- And it does so too often: a busy server that misses two checks goes on answering. What it has begun is left to it;
-- asked again elsewhere, it would make the others busier still. A dead one has been silent for longer by then.
local POLL_MS, CONNECT_MS, SILENT_MS = 20, 70, 200
local ESTABLISHED, FIRST_CHOSEN_PORT = 8, 32768
local sockets = require("posix.sys.socket")

local function now_ms()
    local now = core.now()
    return now.sec * 1000 + now.usec / 1000
end

-- From 3.0 on, HAProxy answers 500 to a session that it ends itself, and asks nobody again. It does ask again when the
-- server has closed the connection. So the connections are closed under it, as a server would.
local function release(name)
    local administration = core.tcp()
    administration:settimeout(1)
    if not administration:connect("/run/haproxy/admin.sock") or not administration:send("show sess\n") then
        return -- tried again at the next poll
    end
    local sessions = administration:receive("*a") or ""
    administration:close()
    local held = " be=servers srv=" .. name .. " .* scb=%[" .. ESTABLISHED .. ",%x+h,fd=(%d+)"
    for session in sessions:gmatch("[^\n]+") do
        local descriptor = tonumber(session:match(held))
        -- it may have been closed since, and be a visitor's by now: those have a port that is listened to
        local own = descriptor and sockets.getsockname(descriptor)
        if own and own.port and own.port >= FIRST_CHOSEN_PORT then
            sockets.shutdown(descriptor, sockets.SHUT_RDWR)
        end
    end
end

core.register_task(function()
    local down_since, sent, answered = {}, {}, {}
    while true do
        core.msleep(POLL_MS)
        for name, server in pairs(core.backends["servers"].servers) do
            local stats, now = server:get_stats(), now_ms()
            if stats.bout ~= sent[name] then
                sent[name], answered[name] = stats.bout, now
            end
            if stats.status ~= "DOWN" then
                down_since[name] = nil
            else
                down_since[name] = down_since[name] or now
                if stats.scur > 0 and now - down_since[name] > CONNECT_MS and now - answered[name] > SILENT_MS then
                    release(name)
                end
            end
        end
    end
end)
