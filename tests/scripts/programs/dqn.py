"""Deep Q-learning of a corridor of doors: replay memory, double and duelling networks, a target that follows softly."""
import math
import random
from collections import deque, namedtuple

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

Transition = namedtuple("Transition", ("state", "action", "next_state", "reward"))


class Corridor:
    """Cells in a row, a wind that pushes back, a door at the end that only the third action opens."""
    length = 6

    def reset(self):
        self.at, self.time = 0, 0
        return self.observe()

    def observe(self):
        return [float(self.at == i) for i in range(self.length)] + [self.time / 30]

    def step(self, action):
        self.time += 1
        if action == 2 and self.at == self.length - 1:
            return None, 1.0, True, False
        move = {0: -1, 1: 1, 2: 0}[action]
        if random.random() < 0.1:
            move = -1
        self.at = min(max(self.at + move, 0), self.length - 1)
        return self.observe(), -0.01, False, self.time >= 30


class ReplayMemory:
    def __init__(self, capacity):
        self.memory = deque([], maxlen=capacity)

    def push(self, *args):
        self.memory.append(Transition(*args))

    def sample(self, batch_size):
        return random.sample(self.memory, batch_size)

    def __len__(self):
        return len(self.memory)


class DQN(nn.Module):
    def __init__(self, n_observations, n_actions):
        super().__init__()
        self.layer1 = nn.Linear(n_observations, 32)
        self.layer2 = nn.Linear(32, 32)
        self.value, self.advantage = nn.Linear(32, 1), nn.Linear(32, n_actions)

    def forward(self, x):
        x = F.relu(self.layer2(F.relu(self.layer1(x))))
        a = self.advantage(x)
        return self.value(x) + a - a.mean(1, keepdim=True)


BATCH_SIZE, GAMMA, EPS_START, EPS_END, EPS_DECAY, TAU, LR = 32, 0.97, 0.9, 0.05, 150, 0.02, 2e-3
random.seed(7)
torch.manual_seed(7)
env = Corridor()
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
policy_net = DQN(len(env.reset()), 3).to(device)
target_net = DQN(len(env.reset()), 3).to(device)
print(target_net.load_state_dict(policy_net.state_dict()))
optimizer = optim.AdamW(policy_net.parameters(), lr=LR, amsgrad=True)
memory = ReplayMemory(2000)
steps_done = 0


def select_action(state):
    global steps_done
    sample = random.random()
    eps_threshold = EPS_END + (EPS_START - EPS_END) * math.exp(-1.0 * steps_done / EPS_DECAY)
    steps_done += 1
    if sample > eps_threshold:
        with torch.no_grad():
            return policy_net(state).max(1).indices.view(1, 1)
    return torch.tensor([[random.randrange(3)]], device=device, dtype=torch.long)


def optimize_model():
    if len(memory) < BATCH_SIZE:
        return None
    batch = Transition(*zip(*memory.sample(BATCH_SIZE)))
    mask = torch.tensor(tuple(map(lambda s: s is not None, batch.next_state)), device=device, dtype=torch.bool)
    non_final_next_states = torch.cat([s for s in batch.next_state if s is not None])
    state_batch, action_batch, reward_batch = torch.cat(batch.state), torch.cat(batch.action), torch.cat(batch.reward)
    state_action_values = policy_net(state_batch).gather(1, action_batch)
    next_state_values = torch.zeros(BATCH_SIZE, device=device)
    with torch.no_grad():
        best = policy_net(non_final_next_states).argmax(1, keepdim=True)
        next_state_values[mask] = target_net(non_final_next_states).gather(1, best).squeeze(1)
    expected = (next_state_values * GAMMA) + reward_batch
    loss = nn.SmoothL1Loss()(state_action_values, expected.unsqueeze(1))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_value_(policy_net.parameters(), 1)
    optimizer.step()
    return loss.item()


durations, losses = [], []
for i_episode in range(30):
    state = torch.tensor(env.reset(), dtype=torch.float32, device=device).unsqueeze(0)
    done = False
    while not done:
        action = select_action(state)
        observation, reward, terminated, truncated = env.step(action.item())
        done = terminated or truncated
        next_state = None if terminated else torch.tensor(observation, dtype=torch.float32, device=device).unsqueeze(0)
        memory.push(state, action, next_state, torch.tensor([reward], device=device))
        state = next_state
        losses.append(optimize_model())
        target, policy = target_net.state_dict(), policy_net.state_dict()
        for key in policy:
            target[key] = policy[key] * TAU + target[key] * (1 - TAU)
        target_net.load_state_dict(target)
    durations.append(env.time)
    if i_episode % 5 == 4:
        mean = torch.tensor(durations[-5:]).float().mean()
        print(f"episode {i_episode}: mean of durations {mean:.1f}, loss {losses[-1]:.5f}")
with torch.no_grad():
    q = policy_net(torch.eye(env.length, env.length + 1))
print([f"{v:.3f}" for v in q.amax(1).tolist()], q.argmax(1).tolist(), len(memory))
