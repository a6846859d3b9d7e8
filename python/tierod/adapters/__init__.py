"""Models of other people behind `vla.Model`, with scenes to drive them through.

Each module stands for one model, imports what it needs where it needs it, and says where weights come
from: `metadrive_ppo`, MetaDrive's PPO driving expert.
"""
